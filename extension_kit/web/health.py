"""Liveness and readiness, as probes of Kubernetes ask for them."""

from flask import Blueprint, Response

health = Blueprint("health", __name__, url_prefix="/health")


@health.get("/liveness")
@health.get("/readiness")
def alive() -> Response:
    """A process that answers is alive and ready; the health port of ``extension-kit serve`` knows more."""
    return Response(content_type="text/plain; charset=utf-8")
