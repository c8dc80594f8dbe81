"""Traces of experiments: every run is an OpenTelemetry trace, with the run, its steps and their targets as spans.

Each span is exported when the event of its end is delivered, and nothing is kept in between: not the start, which the
end repeats, and not the other spans, which are found by their ids.
"""

from functools import lru_cache
from typing import NamedTuple

from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource

from extension_kit import Event, Extension

from .exporting import Exporter
from .settings import TracesSettings
from .spans import make_span

ENDS = tuple(
    f"experiment.execution.{kind}{state}"
    for kind in ("", "step-", "target-")
    for state in ("completed", "failed", "errored", "canceled")
)

extension = Extension("extension-traces", settings=TracesSettings)


class _Destination(NamedTuple):
    exporter: Exporter
    resource: Resource


@extension.listen_to(*ENDS, "experiment.execution.step-skipped", name="traces")
def export(event: Event) -> None:
    """Export the span of the run, step or target that has ended."""
    exporter, resource = _destination(extension.settings)
    exporter.export(make_span(event, resource))


@lru_cache(maxsize=1)
def _destination(settings: TracesSettings) -> _Destination:
    """Return the exporter and the resource for the settings, made once for each process."""
    own = Resource({SERVICE_NAME: settings.service_name})
    return _Destination(Exporter(settings), own.merge(OTELResourceDetector().detect()))
