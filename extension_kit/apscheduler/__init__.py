"""CronEye client: sends the events of an APScheduler scheduler to a CronEye server. Needs the extra ``apscheduler``."""

try:
    import apscheduler.events  # noqa: F401
except ImportError as error:
    raise ImportError(
        "extension_kit.apscheduler needs APScheduler 3 (3.10 or later): pip install 'extension-kit[apscheduler]'"
    ) from error

from extension_kit.apscheduler.listener import CronEyeListener as CronEyeListener
