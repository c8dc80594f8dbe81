"""The Flask application of handler files, for any WSGI server::

    gunicorn "extension_kit.wsgi:create_app('oncall.py')"
    flask --app "extension_kit.wsgi:create_app('oncall.py')" run

Both commands take a function of a module, not a method such as ``extension.create_app``.
"""

import logging

from flask import Flask

from extension_kit.loading import load_extensions
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings, unknown_variables
from extension_kit.web.app import create_app as create_flask_app

logger = logging.getLogger("extension_kit.server")


def create_app(*targets: str) -> Flask:
    """Make the Flask application of the extensions in handler files, folders or modules.

    Args:
        targets: files, folders or modules, as for ``extension-kit serve``.

    Raises:
        ConfigurationError: a target cannot be loaded, there is no listener, or a setting has a bad value.
    """
    service = Service.of(load_extensions(targets), Settings.from_environment())
    for line in service.lines:
        logger.info("%s", line)
    for doubt in [*unknown_variables(service.variables), *service.registry.doubts()]:
        logger.warning("%s", doubt)
    return create_flask_app(service)
