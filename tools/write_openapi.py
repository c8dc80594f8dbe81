"""Write openapi/*.yaml, of an extension for every event, of the event log, and of protocols: ``make openapi``."""

import inspect
from pathlib import Path

from extension_kit.event_log.api_document import build_document as event_log_document
from extension_kit.events.schema.modes import Mode
from extension_kit.web.openapi import build_document, to_yaml
from tools.ready_made import ROOT, protocols

FOLDER = ROOT / "openapi"

MODES: dict[str, Mode] = {"event-kit.yaml": "tolerant", "event-kit.strict.yaml": "strict"}

LISTENERS = [{"method": "POST", "path": "/events/all", "listenTo": ["*"], "restrictTo": "leader"}]


def documents() -> dict[str, str]:
    """Make the content of each file of this folder, by file name."""
    events = "extension_kit/events/schema/bodies.py"
    made = {
        name: (events, build_document(title="event-kit", version="1", listeners=LISTENERS, mode=mode))
        for name, mode in MODES.items()
    }
    made["event-log.yaml"] = ("extension_kit/event_log/api_document.py", event_log_document())
    for _, protocol in protocols():
        if protocol.document is not None:
            source = Path(inspect.getsourcefile(protocol.document) or "").relative_to(ROOT)
            made[f"{protocol.source}.yaml"] = (source.as_posix(), protocol.document())
    return {
        name: f"# Written by `make openapi`; change {source} instead.\n{to_yaml(document)}"
        for name, (source, document) in made.items()
    }


def main() -> None:
    """Write the files."""
    for name, content in documents().items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
