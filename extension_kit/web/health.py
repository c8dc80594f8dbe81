"""Health views: liveness and readiness for Kubernetes probes."""

from datetime import UTC, datetime

from flask import Blueprint, Response

from extension_kit.observability.metrics_page import lateness
from extension_kit.runtime.service import Service

_TEXT = "text/plain; charset=utf-8"


def health_blueprint(service: Service) -> Blueprint:
    """Make the blueprint ``/health``.

    Liveness is always 200. Readiness is 503 while the database of durable listeners cannot be written, and tells since
    when events wait for a worker; it is 503 with the reasons while functions are not ready, unless it is asked for
    ``/readiness/accepting``. The health port of ``extension-kit serve`` checks more.
    """
    health = Blueprint("health", __name__, url_prefix="/health")

    @health.get("/liveness")
    def alive() -> Response:
        return Response(content_type=_TEXT)

    @health.get("/readiness")
    def ready() -> Response:
        accepts = accepting()
        if accepts.status_code == 200 and (reasons := service.reasons()):
            return Response("\n".join(reasons), 503, content_type=_TEXT)
        return accepts

    @health.get("/readiness/accepting")
    def accepting() -> Response:
        if service.runtime is None:
            return Response(content_type=_TEXT)
        if service.runtime.is_writable():
            return Response(lateness(service.runtime.backlog(), datetime.now(UTC)), content_type=_TEXT)
        return Response("Service Unavailable", 503, content_type=_TEXT)

    return health
