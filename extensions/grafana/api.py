"""Grafana's API of annotations, called over HTTP."""

from functools import lru_cache
from typing import Any

from extension_kit import NotReady, http

from .annotations import Annotation
from .settings import GrafanaSettings

_PATH = "/api/annotations"
"""The path of annotations in Grafana 6.4 to 13; from 13 on Grafana calls it deprecated, and keeps it."""

_MARGIN = 3_600_000
"""Milliseconds by which an annotation may lie before and after the times of the event that looks for it."""

_MOST_FOUND = 10
_RETRY_IN = 30.0
"""Seconds until a delivery is tried again after Grafana has answered as no Grafana does."""


class Grafana:
    """One Grafana, as the settings name it.

    Args:
        settings: address, token, dashboard and panel.
    """

    def __init__(self, settings: GrafanaSettings) -> None:
        self._client = http.Client(settings.url, headers={"Authorization": f"Bearer {settings.token}"})
        self._dashboard = {"dashboardUID": settings.dashboard} if settings.dashboard else {}
        self._panel = {"panelId": settings.panel} if settings.panel else {}

    def create(self, annotation: Annotation) -> int:
        """Create an annotation, and return its number.

        Raises:
            NotReady: Grafana refuses the token, or has no annotations at this address.
            GiveUp, RetryLater, http.CallFailed: Grafana refuses it, is busy, or fails; see ``http.Client``.
        """
        times = {"time": annotation.time or annotation.time_end, "timeEnd": annotation.time_end}
        body = {**_content(annotation), **_known(times), **self._dashboard, **self._panel}
        answer = _read(self._call("POST", _PATH, json=body), dict)
        number: int = answer["id"]
        return number

    def change(self, number: int, annotation: Annotation) -> bool:
        """Change an annotation to its present times, text and tags; return False if Grafana has it no longer.

        Raises:
            NotReady: the token may not change it.
        """
        times = {"time": annotation.time, "timeEnd": annotation.time_end}
        body = {**_content(annotation), **_known(times)}
        try:
            return self._call("PATCH", f"{_PATH}/{number}", json=body).status != 404
        except NotReady:  # for a token with permissions by type, one that was removed is forbidden, too
            if number in self._numbers(annotation):
                raise
            return False

    def find(self, annotation: Annotation) -> int | None:
        """Find the first annotation with the identity of another, about its time; return its number, or None."""
        return min(self._numbers(annotation), default=None)

    def _numbers(self, annotation: Annotation) -> list[int]:
        """Return the numbers of the annotations with the identity of another, about its time."""
        times = [time for time in (annotation.time, annotation.time_end) if time is not None]
        query = {
            "tags": annotation.identity,
            "from": max(min(times) - _MARGIN, 1),
            "to": max(times) + _MARGIN,
            "limit": _MOST_FOUND,
        }
        found = _read(self._call("GET", _PATH, params=query), list)
        return [each["id"] for each in found if set(annotation.identity) <= set(each["tags"] or ())]

    def check(self) -> str | None:
        """Return the reason why Grafana can take no annotation; None if it can, as far as reading one tells.

        Raises:
            NotReady, http.CallFailed: Grafana refuses the token, or does not answer.
        """
        nothing = {"from": 1, "to": 1, "limit": 1, **self._dashboard}
        response = self._call("GET", _PATH, params=nothing, accept=(400, 404))
        if response.status == 400 and self._dashboard:  # it would make annotations of the organization
            return "Grafana has no dashboard with the UID of EXTENSION_GRAFANA_DASHBOARD (400)"
        _read(response, list)
        return None

    def _call(self, method: str, path: str, accept: tuple[int, ...] = (404,), **options: Any) -> http.Response:
        """Make a request; see ``http.Client.request``.

        Raises:
            NotReady: the token is refused, or may not do this.
        """
        response = self._client.request(method, path, accept=(403, *accept), **options)
        if response.status == 403:
            raise NotReady(
                f"{response.host} refuses {method} with this token (403), which needs the permissions "
                "annotations:create, annotations:write and annotations:read",
                retry_in=_RETRY_IN,
            )
        return response


def _content(annotation: Annotation) -> dict[str, Any]:
    return {"text": annotation.text, "tags": annotation.tags}


def _known(times: dict[str, int | None]) -> dict[str, int]:
    return {name: time for name, time in times.items() if time is not None}


def _read(response: http.Response, kind: type[Any]) -> Any:
    """Return the JSON of an answer.

    Raises:
        NotReady: it is no answer of Grafana, but perhaps that of a proxy before it, or of a page.
    """
    try:
        answer = response.json()
    except http.CallFailed:
        answer = None
    if response.status == 404 or not isinstance(answer, kind):
        raise NotReady(
            f"{response.host} does not answer as Grafana does ({response.status}): is EXTENSION_GRAFANA_URL right?",
            retry_in=_RETRY_IN,
        )
    return answer


@lru_cache(maxsize=1)
def connect(settings: GrafanaSettings) -> Grafana:
    """Return the Grafana of the settings, with the connections that this process has to it."""
    return Grafana(settings)
