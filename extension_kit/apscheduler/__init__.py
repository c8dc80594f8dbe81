"""CronEye client: sends the events of an APScheduler scheduler to a CronEye server. Needs the extra ``apscheduler``.

It is also a distribution of its own, ``extension-kit-apscheduler``, without the server.
"""

try:
    import apscheduler.events  # noqa: F401
except ImportError as error:
    raise ImportError(
        "extension_kit.apscheduler needs APScheduler 3 (3.10 or later): pip install 'apscheduler>=3.10,<4'"
    ) from error

from extension_kit.apscheduler.listener import CronEyeListener as CronEyeListener
from extension_kit.errors import ConfigurationError as ConfigurationError
