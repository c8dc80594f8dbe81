"""Variables of the environment that do nothing: misspelt settings, and those that do not act in this process."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection

from extension_kit.settings.declare import FILE_SUFFIX, declarations
from extension_kit.settings.kit import EVENT_LOG, SERVE, WORKER, WSGI, Settings


def unknown_variables(known: Collection[str] = ()) -> list[str]:
    """Return a sentence for each environment variable that looks like a misspelt setting, to be logged at the start.

    ``known`` are variables of other settings. Every unknown EXTENSION_ variable is reported. A variable with one of
    Steadybit's prefixes is reported only if its name is close to a setting: extensions use these prefixes, too.
    """
    settings = {*known, *(declaration.variable for _, declaration in declarations(Settings))}
    by_ending = {_ending(variable): variable for variable in settings}
    sentences = []
    for variable, value in sorted(os.environ.items()):
        ours = variable.startswith("EXTENSION_")
        if not ours and not variable.startswith(("STEADYBIT_EXTENSION_", "STEADYBIT_LOG_")):
            continue
        if {variable, variable.removesuffix(FILE_SUFFIX)} & settings or _is_service_link(variable, value):
            continue
        if close := difflib.get_close_matches(_ending(variable), by_ending, n=1, cutoff=0.75):
            sentences.append(f"{variable} is not a setting: did you mean {by_ending[close[0]]}?")
        elif ours:
            sentences.append(f"{variable} is not a setting")
    return sentences


def _is_service_link(variable: str, value: str) -> bool:
    """Return True for a variable that Kubernetes sets for a service, perhaps one called ``extension-oncall``."""
    name = re.search(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)", variable)
    return bool(name or re.match("(tcp|udp|sctp)://", value))


def _ending(variable: str) -> str:
    """Return the variable without its prefixes, which would make all names similar."""
    return re.sub("^(STEADYBIT_)?(EXTENSION_)?", "", variable)


_WITHOUT_EFFECT = {
    SERVE: "in a server without a worker: `extension-kit worker` heeds the settings of deliveries",
    WORKER: "in a worker: `extension-kit serve` heeds the settings of requests",
    EVENT_LOG: "in an event log: `extension-kit serve` and `extension-kit worker` heed the other settings",
    WSGI: "under WSGI: `extension-kit event-log` serves the event log, and addresses, TLS, connections and log lines "
    "are up to the WSGI server",
}


def idle_variables(program: str) -> str:
    """Return a sentence that names the settings in the environment that do not act in a process, or "".

    Args:
        program: the program of the process: ``SERVE`` (without a worker beside it), ``WORKER``, ``EVENT_LOG`` or
            ``WSGI``.
    """
    idle = [
        variable
        for _, declaration in declarations(Settings)
        for variable in (declaration.variable, declaration.variable + FILE_SUFFIX)
        if program not in declaration.acts_in and os.environ.get(variable)
    ]
    if not idle:
        return ""
    *most, last = idle
    names = f"{', '.join(most)} and {last} do" if most else f"{last} does"
    return f"{names} nothing {_WITHOUT_EFFECT[program]}"
