"""Who gets into the event log: the settings must say it, and must not contradict each other."""

from ipaddress import ip_network
from typing import Any

import pytest

from extension_kit.errors import SettingError
from extension_kit.settings.event_log import check_access
from extension_kit.settings.kit import Settings

HEADER = {"event_log_trusted_header": "X-Forwarded-User"}
PROXIES = {"event_log_trusted_proxies": (ip_network("10.0.0.0/8"),)}
PASSWORD = {"event_log_password": "correct horse"}
OPEN = {"event_log_open": "loopback"}


@pytest.mark.parametrize(
    "given",
    [
        PASSWORD,
        {**PASSWORD, "event_log_address": "0.0.0.0"},
        {**HEADER, **PROXIES},
        {**HEADER, **PROXIES, **PASSWORD},
        OPEN,
        {**OPEN, "event_log_address": "127.0.0.2"},
        {**OPEN, "event_log_address": "::1"},
    ],
)
def test_ways_in(given: dict[str, Any]) -> None:
    check_access(Settings(**given))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {},
            "The event log has no password: set EXTENSION_EVENT_LOG_PASSWORD, or EXTENSION_EVENT_LOG_OPEN=loopback to "
            "open it to everybody on this machine, or EXTENSION_EVENT_LOG_TRUSTED_HEADER and "
            "EXTENSION_EVENT_LOG_TRUSTED_PROXIES behind a proxy for single sign-on",
        ),
        (
            {**HEADER, **PASSWORD},
            "EXTENSION_EVENT_LOG_TRUSTED_PROXIES is not set: it must be provided with "
            "EXTENSION_EVENT_LOG_TRUSTED_HEADER",
        ),
        (
            {**PROXIES, **PASSWORD},
            "EXTENSION_EVENT_LOG_TRUSTED_HEADER is not set: it must be provided with "
            "EXTENSION_EVENT_LOG_TRUSTED_PROXIES",
        ),
        (
            {**OPEN, **PASSWORD},
            "EXTENSION_EVENT_LOG_OPEN and EXTENSION_EVENT_LOG_PASSWORD are both set: one of them is allowed",
        ),
        (
            {**OPEN, **HEADER, **PROXIES},
            "EXTENSION_EVENT_LOG_OPEN and EXTENSION_EVENT_LOG_TRUSTED_HEADER are both set: one of them is allowed",
        ),
        *(
            (
                {**OPEN, "event_log_address": address},
                f"EXTENSION_EVENT_LOG_ADDRESS is {address}: a loopback address such as 127.0.0.1 is allowed with "
                "EXTENSION_EVENT_LOG_OPEN",
            )
            for address in ("0.0.0.0", "::", "10.0.0.1")
        ),
    ],
)
def test_problems(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as refused:
        check_access(Settings(**given))

    assert str(refused.value) == problem
