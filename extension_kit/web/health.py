"""Liveness and readiness, as probes of Kubernetes ask for them."""

from flask import Blueprint, Response

from extension_kit.runtime.service import Service

_TEXT = "text/plain; charset=utf-8"


def health_blueprint(service: Service) -> Blueprint:
    """Make the views.

    A process that answers is alive. It is ready if it can also store events, where it has to; the health port of
    ``extension-kit serve`` knows more.
    """
    health = Blueprint("health", __name__, url_prefix="/health")

    @health.get("/liveness")
    def alive() -> Response:
        return Response(content_type=_TEXT)

    @health.get("/readiness")
    def ready() -> Response:
        if service.durability is None or service.durability.is_writable():
            return Response(content_type=_TEXT)
        return Response("Service Unavailable", 503, content_type=_TEXT)

    return health
