"""Pages of the event log: all cost about the same, however many events are before them (eventhos, event log).

The events on the way to a page are neither read nor sorted but counted in an index, from the nearer end: that takes
less than the count of all, which every page shows. Where each number of a range matches, they are not even counted.
"""

from .log_filter import Matching, Span
from .paging import Paging

_WINDOW = 1000  # numbers that are sorted for a page


def numbers_of_page(matching: Matching, paging: Paging) -> list[int]:
    """Return the numbers of the events on a page, in the order of the page."""
    total = matching.all.size
    offset = paging.index * paging.per_page
    limit = min(paging.per_page, total - offset)
    start = total - offset - limit if paging.descending else offset
    found: list[int] = []
    rest = matching.all
    while len(found) < limit:
        before, window = _window(matching, rest, start)
        found += matching.numbers(window, start - before, limit - len(found))
        # The next window, if the page goes on there, begins behind this one.
        start = 0
        rest = Span(window.high + 1, rest.high, rest.size - before - window.size)
    return found[::-1] if paging.descending else found


def _window(matching: Matching, span: Span, start: int) -> tuple[int, Span]:
    """Return a part of a span that has a place in it and can be sorted quickly.

    Args:
        matching: the numbers.
        span: the span.
        start: the place: how many are before it.

    Returns:
        How many are before the part, and the part.
    """
    before, is_guess = 0, True
    while span.size > _WINDOW and not span.is_dense:
        place, width = start - before, span.high - span.low + 1
        is_low = place < span.size // 2
        # Guess that they are spread evenly, and go beyond the place, so that the other end of the part is near.
        reach = (place if is_low else span.size - place) + _WINDOW // 2
        ids = min(width * reach // span.size, width * 3 // 4) if is_guess else width // 2
        if is_low:
            lower = matching.span(span.low, span.low + ids - 1)
            upper = Span(span.low + ids, span.high, span.size - lower.size)
        else:
            upper = matching.span(span.high - ids + 1, span.high)
            lower = Span(span.low, span.high - ids, span.size - upper.size)
        if place < lower.size:
            span = lower
        else:
            span, before = upper, before + lower.size
        # After a bad guess halve the part, so that the way is short however they are spread.
        is_guess = span.high - span.low < width * 3 // 4
    return before, span
