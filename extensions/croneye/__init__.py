"""CronEye's API: receives APScheduler's events, keeps the state of every job, and publishes to listeners."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, LogPage, Task

from . import retention, watch
from .codes import EVENT_NAMES, LOST, OVERDUE
from .document import build_document
from .event_facts import find_facts
from .events import SOURCE, CronEyeEvent
from .job_page import read_jobs
from .routes import routes
from .scheduler_page import read_schedulers
from .settings import CronEyeSettings
from .tables import TABLES

__all__ = ["CronEyeEvent", "CronEyeSettings", "extension"]

extension = Extension("extension-croneye")
extension.add_protocol(
    EventProtocol(
        SOURCE,
        settings=CronEyeSettings,
        routes=routes,
        names=(*EVENT_NAMES.values(), OVERDUE, LOST),
        event=CronEyeEvent,
        tables=TABLES,
        document=build_document,
        tasks=(
            Task(watch.EVERY, watch.Watch()),
            Task(retention.EVERY, retention.remove_old),
        ),
        log_pages=(LogPage("jobs", "Jobs", read_jobs), LogPage("schedulers", "Schedulers", read_schedulers)),
        log_facts=find_facts,
    )
)
