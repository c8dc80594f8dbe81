"""Views of people's actions: replay, discard and try now with a confirmation; cancel, pause and resume at once."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, Response, g, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest

from extension_kit.deliveries.action_rows import DISCARD, REPLAY, RETRY_NOW
from extension_kit.event_log.actions import Actions, CountChanged
from extension_kit.event_log.choice import Choice, choose
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.filter_words import phrases
from extension_kit.event_log.filters import delivery_filter
from extension_kit.event_log.receiver_actions import pause_receiver, resume_receiver

_LIST = "/deliveries"
_MOST_FIELDS = 100  # parameters of a filter
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)

_QUESTIONS = {REPLAY: "Replay {}?", DISCARD: "Discard {}?", RETRY_NOW: "Try {} now?"}
_CONSEQUENCES = {
    REPLAY: "Each gets as many attempts as a new delivery, and comes before those of later events of its series.",
    DISCARD: "They cannot be replayed afterwards. A delivery that is being attempted is left alone.",
    RETRY_NOW: "The number of their remaining attempts stays as it is. A delivery behind another one waits for it.",
}
_CHANGED = "Their number has changed meanwhile from {:,} to {:,}: look again before you confirm."


@dataclass(frozen=True)
class _Form:
    """Deliveries of a form, and the addresses around it.

    Attributes:
        choice: the deliveries.
        listed: query of the list that the form was on; None: it was not on a list.
    """

    choice: Choice
    listed: str | None

    @property
    def back(self) -> str:
        """Address of the page that the form was on."""
        refs = self.choice.wanted.refs
        if self.listed is None and len(refs) == 1:
            return f"{_LIST}/{refs[0]}"
        return f"{_LIST}?{self.listed}" if self.listed else _LIST


def action_blueprint(log: EventLog, actions: Actions) -> Blueprint:
    """Make the views of the actions.

    Args:
        log: the database and the extensions.
        actions: those of this process.
    """
    views = Blueprint("action", __name__)

    @views.post("/deliveries/replay")
    def replay() -> Response:
        return act(REPLAY)

    @views.post("/deliveries/discard")
    def discard() -> Response:
        return act(DISCARD)

    @views.post("/deliveries/retry-now")
    def retry_now() -> Response:
        return act(RETRY_NOW)

    def act(kind: str) -> Response:
        form = _read_form(kind)
        if not request.form.get("confirmed"):
            return _ask(log, form)
        expected = request.form.get("expected", "")
        if not _NUMBER.fullmatch(expected):
            raise BadRequest("The number of deliveries that was confirmed is missing: go back, and try again.")
        try:
            ref = actions.begin(form.choice, int(expected), g.viewer.name)
        except CountChanged as changed:
            return _ask(log, form, _CHANGED.format(int(expected), changed.number), 409)
        return make_response(redirect(form.back if form.choice.wanted.refs else f"/actions/{ref}", 303))

    @views.post("/actions/<int:ref>/cancel")
    def cancel(ref: int) -> Response:
        actions.cancel(ref, g.viewer.name)
        return make_response(redirect(f"/actions/{ref}", 303))

    @views.post("/receivers/pause")
    def pause() -> Response:
        return change_receiver(pause_receiver)

    @views.post("/receivers/resume")
    def resume() -> Response:
        return change_receiver(resume_receiver)

    def change_receiver(change: Callable[[EventLog, str, str], bool]) -> Response:
        change(log, request.form.get("listener", ""), g.viewer.name)
        return make_response(redirect("/receivers", 303))

    return views


def _read_form(kind: str) -> _Form:
    """Read the deliveries of a form: those of its ``ref`` fields, or with ``which=all`` those of its ``filter``.

    Raises:
        BadRequest: there are none, or too many conditions.
        BadFilter: a condition is not allowed, or the action cannot be for these.
    """
    refs, given = request.form.getlist("ref"), request.form.get("filter")
    which = request.form.get("which") or ("chosen" if refs or given is None else "all")
    if (given or "").count("&") >= _MOST_FIELDS:
        raise BadRequest(f"A filter has at most {_MOST_FIELDS} parameters.")
    listed = parse_qsl(given or "")
    if which == "all":
        wanted = delivery_filter(dict(listed))
    elif refs:
        wanted = delivery_filter({"ref": ",".join(refs)})
    else:
        raise BadRequest("No delivery is selected: select some, or take all that match the filter.")
    return _Form(choose(kind, wanted), None if given is None else urlencode(listed))


def _ask(log: EventLog, form: _Form, notice: str = "", status: int = 200) -> Response:
    """Show the page that asks to confirm an action, with the present number of its deliveries."""
    choice = form.choice
    with log.database.read() as connection:
        number = choice.count(connection)
    refs = choice.wanted.refs
    others = len(refs) - number
    question = _QUESTIONS[choice.kind].format(choice.noun(number))
    page = render_template(
        "confirm.html",
        question=question if number else f"There are no {choice.nouns} here",
        button=question.removesuffix("?"),
        notice=notice,
        phrases=list(phrases(choice.wanted)),
        consequence=_CONSEQUENCES[choice.kind],
        left_alone=f"Of the {len(refs):,} selected deliveries, those with another status are left alone: {others:,}."
        if others and refs
        else "",
        number=number,
        refs=refs,
        which="chosen" if refs else "all",
        filter=form.listed if refs else choice.query(),
        back=form.back,
    )
    return make_response(page, status)
