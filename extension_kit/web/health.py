"""Health views: liveness and readiness for Kubernetes probes."""

from flask import Blueprint, Response

from extension_kit.runtime.service import Service

_TEXT = "text/plain; charset=utf-8"


def health_blueprint(service: Service) -> Blueprint:
    """Make the blueprint ``/health``.

    Liveness is always 200. Readiness is 503 while the database of durable listeners cannot be written. The health port
    of ``extension-kit serve`` checks more.
    """
    health = Blueprint("health", __name__, url_prefix="/health")

    @health.get("/liveness")
    def alive() -> Response:
        return Response(content_type=_TEXT)

    @health.get("/readiness")
    def ready() -> Response:
        if service.runtime is None or service.runtime.is_writable():
            return Response(content_type=_TEXT)
        return Response("Service Unavailable", 503, content_type=_TEXT)

    return health
