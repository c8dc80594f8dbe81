"""Access to the event log, checked as a whole: nobody gets in unless the settings say how."""

from ipaddress import ip_address

from extension_kit.errors import SettingError
from extension_kit.settings.kit import Settings

DEFAULT_PORT = 8082
"""Port of ``extension-kit event-log``."""

_PASSWORD, _OPEN = "EXTENSION_EVENT_LOG_PASSWORD", "EXTENSION_EVENT_LOG_OPEN"
_HEADER, _PROXIES = "EXTENSION_EVENT_LOG_TRUSTED_HEADER", "EXTENSION_EVENT_LOG_TRUSTED_PROXIES"


def check_access(settings: Settings) -> None:
    """Check that the settings say who gets in, and do not contradict each other.

    Raises:
        SettingError: one line with what to set.
    """
    header, proxies = settings.event_log_trusted_header, settings.event_log_trusted_proxies
    if header and not proxies:
        raise SettingError(f"{_PROXIES} is not set: it must be provided with {_HEADER}")
    if proxies and not header:
        raise SettingError(f"{_HEADER} is not set: it must be provided with {_PROXIES}")
    if not (settings.event_log_password or settings.event_log_open or header):
        raise SettingError(
            f"The event log has no password: set {_PASSWORD}, or {_OPEN}=loopback to open it to everybody on this "
            f"machine, or {_HEADER} and {_PROXIES} behind a proxy for single sign-on"
        )
    if settings.event_log_open:
        if other := _PASSWORD if settings.event_log_password else header and _HEADER:
            raise SettingError(f"{_OPEN} and {other} are both set: one of them is allowed")
        if not is_loopback(settings.event_log_address):
            raise SettingError(
                f"EXTENSION_EVENT_LOG_ADDRESS is {settings.event_log_address}: a loopback address such as 127.0.0.1 "
                f"is allowed with {_OPEN}"
            )


def is_loopback(address: str) -> bool:
    """Return True if only this machine reaches an IP address."""
    return ip_address(address).is_loopback
