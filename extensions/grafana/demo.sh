#!/bin/sh
# Serves the extension beside a stand-in for Grafana, which prints its annotations, and plays a recorded run.
. "$(dirname "$0")/../demo_parts.sh"
export EXTENSION_GRAFANA_TOKEN=a-token EXTENSION_GRAFANA_STEPS=true EXTENSION_DELIVERY_ALLOW_NETWORKS=127.0.0.0/8

say "A stand-in for Grafana, which prints each annotation as it is made and changed."
stand_in -m tests.support.grafana "$EXTENSION_GRAFANA_TOKEN"
export EXTENSION_GRAFANA_URL="$address"

say "The extension, with the address and the token of that Grafana, annotates runs and steps."
serve extensions/grafana

say "A simulated agent plays recorded events. Each run and each step is one annotation, which gets its end later."
play --replay extensions/announce/events.jsonl --limit 12 --interval 0.2
stay
