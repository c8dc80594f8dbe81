"""Retry schedules: how long a delivery waits between attempts, and how many it gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

from extension_kit.errors import RegistrationError

DEFAULT_DELAYS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Seconds between attempts; eight attempts within 28 hours, as Svix has it by default."""

MAX_DELAY = 30 * 86400.0
MAX_ATTEMPTS = 1000
_JITTER = 0.1


def is_number(value: object) -> bool:
    """Return True if a value is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The waits between the attempts of one delivery.

    Args:
        delays: seconds to wait after the first, second, ... failed attempt; if one more fails, the delivery is dead.
            Each is varied by up to a tenth, so that deliveries which failed together do not come back together.
    """

    delays: tuple[float, ...] = DEFAULT_DELAYS

    @classmethod
    def of(cls, delays: Sequence[float] | None) -> "RetrySchedule":
        """Make a schedule from a user's delays in seconds; None gives the default.

        Raises:
            RegistrationError: they are not seconds from 0 to 30 days, or there are too many.
        """
        if delays is None:
            return cls()
        if isinstance(delays, str | bytes) or not isinstance(delays, Sequence) or len(delays) >= MAX_ATTEMPTS:
            raise RegistrationError(
                f"retry is a list of up to {MAX_ATTEMPTS} waits in seconds, such as retry=[5, 300] for two attempts "
                f"more, not {delays!r:.80}"
            )
        for delay in delays:
            if not is_number(delay) or not 0 <= delay <= MAX_DELAY:
                raise RegistrationError(f"retry holds {delay!r:.80}: a wait is a number of seconds, at most 30 days")
        return cls(tuple(float(delay) for delay in delays))

    @property
    def attempts(self) -> int:
        """Maximum number of attempts."""
        return len(self.delays) + 1

    @property
    def length(self) -> float:
        """Seconds between the first attempt and the last, if attempts take no time."""
        return sum(self.delays)

    def wait_after(self, attempt: int, *, at_least: float | None = None, exactly: float | None = None) -> float | None:
        """Return the seconds to wait after a failed attempt; None after the last.

        Args:
            attempt: its number, from 1.
            at_least: seconds that a receiver asked for. They never shorten the schedule's wait: a receiver that always
                asks for one second would use up its attempts in seconds.
            exactly: seconds that replace the schedule's.
        """
        if attempt > len(self.delays):
            return None
        delay = self.delays[attempt - 1] * SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)
        wanted = max(delay, at_least or 0.0) if exactly is None else exactly
        return max(min(wanted, MAX_DELAY), 0.0)
