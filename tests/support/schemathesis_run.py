"""schemathesis as a command, since its pytest plugin fits only some versions of pytest."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.paths import BIN
from tests.support.servers import Served

CONFORMANCE = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)
"""Checks of answers alone, where the document allows more than is accepted."""


def schemathesis(
    server: Served,
    document: object,
    folder: Path,
    *options: str,
    checks: Sequence[str] = ("all",),
    headers: Mapping[str, str] | None = None,
    examples: int = 5,
) -> subprocess.CompletedProcess[str]:
    """Make requests to a server from its OpenAPI document, the same ones each time, and judge the answers.

    The phase that is left out follows links between operations, of which no document has any.

    Args:
        server: to be asked.
        document: is written into the folder.
        folder: where the command runs; settings may be there.
        options: more of the command, which come last.
        checks: names of the checks that are made.
        headers: of each request; None: no more than it sends by itself.
        examples: number of requests for an operation, at most, in a phase.
    """
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [
        BIN / "st",
        "run",
        "openapi.json",
        "--url",
        server.url,
        "--checks",
        ",".join(checks),
        *(word for name, value in (headers or {}).items() for word in ("--header", f"{name}: {value}")),
        "--mode",
        "all",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        str(examples),
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-color",
        *options,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
