// Polling that stops while the page is hidden or paused, and sends the tag of the content that is shown.
// The page works without this file; nothing polls then.
(() => {
  "use strict";

  let paused = false;

  const live = () => document.getElementById("live");

  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (sourceElement.id !== "live") return;
    if (paused || document.hidden || isBeingUsed(sourceElement)) {
      event.preventDefault();
    } else if (sourceElement.dataset.tag) {
      request.headers["If-None-Match"] = sourceElement.dataset.tag;
    }
  });

  document.addEventListener("htmx:after:request", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (sourceElement.id === "live" && response && response.status === 401) location.reload();
  });

  // A list with marked rows must not move while somebody chooses among them.
  const isBeingUsed = (element) => element.querySelector("input[type=checkbox]:checked") !== null;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("pause");
    if (button && live()) {
      button.hidden = false;
      button.addEventListener("click", () => {
        paused = !paused;
        button.setAttribute("aria-pressed", String(paused));
        button.textContent = paused ? "Updates paused" : "Pause updates";
      });
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.id !== "all") return;
    for (const box of document.querySelectorAll("input[name=ref]")) box.checked = event.target.checked;
  });
})();
