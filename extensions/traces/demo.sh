#!/bin/sh
# Serves the extension beside a collector that draws traces, and plays recorded events against it as an agent would.
. "$(dirname "$0")/../demo_parts.sh"

say "A collector of OpenTelemetry, which draws the traces that it gets."
stand_in extensions/traces/demo_collector.py
export OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$address"
echo "\$ export OTEL_EXPORTER_OTLP_ENDPOINT=$OTEL_EXPORTER_OTLP_ENDPOINT"

say "The server: each span is exported when the event of its end is delivered."
export OTEL_TRACES_EXPORTER=none # of the kit's own traces
serve extensions/traces

say "A simulated agent plays two runs of experiments. Each becomes one trace."
play --replay extensions/announce/events.jsonl --fast

say "The same events again, as if from another agent, make the same spans, so the collector has nothing new to draw."
play --replay extensions/announce/events.jsonl --fast --fresh-ids
stay
