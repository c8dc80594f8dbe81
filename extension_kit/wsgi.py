"""The Flask application of handler files, for any WSGI server::

    gunicorn "extension_kit.wsgi:create_app('oncall.py')"
    flask --app "extension_kit.wsgi:create_app('oncall.py')" run

Both commands take a function of a module, not a method such as ``extension.create_app``.
"""

import logging
import os

from flask import Flask

from extension_kit.errors import ConfigurationError, StoreError
from extension_kit.events.registration_document import list_warnings
from extension_kit.loading import open_service
from extension_kit.settings.environment import idle_variables
from extension_kit.settings.kit import WSGI, Settings
from extension_kit.web.app import create_app as create_flask_app

logger = logging.getLogger("extension_kit.server")

_APP_LOAD_ERROR = 4  # gunicorn then stops instead of starting another process


def create_app(*targets: str) -> Flask:
    """Make the Flask application of the extensions in handler files, folders or modules.

    Args:
        targets: files, folders or modules, as for ``extension-kit serve``.

    Raises:
        SystemExit: a target cannot be loaded, there is no listener, a setting has a bad value, or the database cannot
            be used; one log line says so.
    """
    try:
        service = open_service(targets, Settings.from_environment())
    except (ConfigurationError, StoreError) as error:
        if os.environ.get("WERKZEUG_RUN_MAIN"):  # Flask's reloader waits for the mistake to be mended
            raise
        logger.critical("Cannot start: %s", error)
        raise SystemExit(_APP_LOAD_ERROR) from None
    for line in service.lines:
        logger.info("%s", line)
    for doubt in [*service.doubts(), *list_warnings(service.registry)]:
        logger.warning("%s", doubt)
    if idle := idle_variables(WSGI):
        logger.warning("%s", idle)
    return create_flask_app(service)
