"""Attempts: decides how a claimed delivery goes on before, after and without an attempt. Writes nothing."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from extension_kit.deliveries.claims import Attempt, Claim, End
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.readiness import rest
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING
from extension_kit.observability import metrics
from extension_kit.observability.attempt_scope import LogContext, log_with
from extension_kit.observability.tracing import trace_id_in
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.deliveries")

SUSPECT = 2
"""Losses in a row after which a delivery is suspected of killing its process. It is then attempted alone."""

_CIRCUIT_OPEN = "the target rests"
_LOST = "the process that made it died"
_MAX_TEXT = 2000


def before_attempt(claim: Claim, handler: Handler | None, now: datetime) -> End | None:
    """Return the end of a claim for which no attempt is to be made now; None: make it.

    A delivery without a handler is discarded. One whose target rests waits, and is dead if the target still rests at
    the end of the whole schedule.
    """
    due = claim.due
    if handler is None:
        return End(claim, DISCARDED, now, error="its listener is gone")
    if due.number - 1 - due.uncounted_attempts >= handler.schedule.attempts:
        return _dead(claim, now, claim.error or "the process died in every attempt")
    if (wait := handler.circuit_wait()) <= 0:
        return None
    first = claim.first_attempt_at
    if first and (now - first).total_seconds() > handler.schedule.length:
        error = claim.error or _CIRCUIT_OPEN
        if not error.startswith(_CIRCUIT_OPEN):  # a replayed delivery may have ended the same way before
            error = f"{_CIRCUIT_OPEN}: {error}"
        return _dead(claim, now, error)
    return End(claim, WAITING, now, now + timedelta(seconds=wait), claim.error, losses=claim.losses)


def after_attempt(claim: Claim, schedule: RetrySchedule, outcome: Outcome, started: datetime, now: datetime) -> End:
    """Return the end of a claim after its attempt."""
    due, outcome = claim.due, _storable(outcome)
    attempt = Attempt(started, now, outcome.result, outcome, outcome.error)
    seconds = (now - started).total_seconds()
    if outcome.result == "delivered":
        return End(claim, DELIVERED, now, attempt=attempt, result=metrics.DELIVERED, seconds=seconds)
    if outcome.result == "not ready":
        due_at = now + timedelta(seconds=rest(outcome))
        return End(claim, WAITING, now, due_at, outcome.error, attempt, counts=False, begins=False)
    wait = None
    if outcome.result == "failed":
        tried = due.number - due.uncounted_attempts
        wait = schedule.wait_after(tried, at_least=outcome.retry_after, exactly=outcome.retry_in)
    if wait is None:
        return End(claim, DEAD, now, error=outcome.error, attempt=attempt, result=metrics.DEAD, seconds=seconds)
    due_at = now + timedelta(seconds=wait)
    return End(claim, WAITING, now, due_at, outcome.error, attempt, result=metrics.FAILED, seconds=seconds)


def after_loss(claim: Claim, handler: Handler | None, now: datetime) -> End:
    """Return the end of a claim of a process that died.

    All claims of a process are lost with it, and any of them may be the cause. The first losses in a row do not count
    in the schedule. A suspect was claimed alone, so its losses count, and it waits as after a failure.
    """
    due = claim.due
    counts = claim.losses >= SUSPECT
    losses = claim.losses + 1
    attempt = Attempt(claim.claimed_at, max(now, claim.claimed_at), "lost", error=_LOST)
    if handler is None or losses < SUSPECT:
        return End(claim, WAITING, now, now, claim.error, attempt, counts, losses)
    tried = due.number - due.uncounted_attempts - (not counts)
    wait = handler.schedule.wait_after(max(tried, 1))
    if wait is None and counts:
        return _dead(claim, now, claim.error or "the process died in every attempt", attempt)
    lost = "%s: attempt %d was lost with its process, retry in %g s"
    logger.warning(lost, name(claim), due.number, wait or 0, extra=_fields(claim))
    return End(claim, WAITING, now, now + timedelta(seconds=wait or 0), claim.error, attempt, counts, losses)


def after_hand_back(claim: Claim, started: datetime, now: datetime) -> End:
    """Return the end of a claim with an attempt that is handed back: others make it anew, and it does not count."""
    attempt = Attempt(started, now, "handed back", error="the process that made it was stopped")
    return End(claim, WAITING, now, now, claim.error, attempt, counts=False, losses=claim.losses)


def without_attempt(claim: Claim, now: datetime) -> End:
    """Return the end of a claim with which no attempt is begun, because its listener is not ready."""
    return End(claim, WAITING, now, error=claim.error, losses=claim.losses, begins=False)


def report(end: End, *, counted: bool) -> None:
    """Log the end of a claim, and count it in the metrics.

    Args:
        end: the end.
        counted: False if the claim did not hold any more, so that the end was not written.
    """
    due = end.claim.due
    if not counted:
        logger.warning(
            "Attempt %d of delivery %d ended too late, result ignored", due.number, due.ref, extra=_fields(end.claim)
        )
        return
    if end.result is not None:
        metrics.attempted(due.listener, end.result, end.seconds)
    if end.result == metrics.DELIVERED:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: delivered in attempt %d", name(end.claim), due.number, extra=_fields(end.claim))
    elif end.status == DEAD and end.result == metrics.DEAD and end.seconds is not None:
        logger.error(
            "%s is dead after attempt %d: %s", name(end.claim), due.number, end.error, extra=_fields(end.claim)
        )
    elif end.status == DEAD:
        logger.error("%s is dead: %s", name(end.claim), end.error, extra=_fields(end.claim))
    elif end.result == metrics.FAILED and end.due_at is not None:
        wait = (end.due_at - end.at).total_seconds()
        attempt = "%s: attempt %d failed, retry in %g s: %s"
        logger.warning(attempt, name(end.claim), due.number, round(wait, 2), end.error, extra=_fields(end.claim))


def name(claim: Claim) -> str:
    """Return the name of a delivery in the log: its listener and its event."""
    return f"{claim.due.listener} of {claim.due.event_name} {claim.due.event_id}"


def _fields(claim: Claim) -> dict[str, LogContext]:
    due = claim.due
    return log_with(LogContext(due.listener, due.event_id, due.number, trace_id_in(due.trace_context)))


def _dead(claim: Claim, now: datetime, error: str, attempt: Attempt | None = None) -> End:
    return End(claim, DEAD, now, error=error, attempt=attempt, result=metrics.DEAD)


def _storable(outcome: Outcome) -> Outcome:
    """Shorten an outcome's texts, and replace characters a database does not store: NUL, single surrogates."""
    return replace(outcome, error=_storable_text(outcome.error), excerpt=_storable_text(outcome.excerpt))


def _storable_text(text: str | None) -> str | None:
    return text and text[:_MAX_TEXT].replace("\x00", "\ufffd").encode(errors="replace").decode()
