#!/bin/sh
# Serves the extension beside a stand-in for Datadog, which prints its events, and plays a recorded run.
. "$(dirname "$0")/../demo_parts.sh"
export EXTENSION_DATADOG_API_KEY=a-key EXTENSION_DELIVERY_ALLOW_NETWORKS=127.0.0.0/8

say "A stand-in for Datadog, which prints each event."
stand_in -m tests.support.datadog "$EXTENSION_DATADOG_API_KEY"
export EXTENSION_DATADOG_URL="$address"

say "The extension, with the address and the API key of that Datadog."
serve extensions/datadog

say "A simulated agent plays recorded events. Runs and attacks become events; other steps do not."
play --replay extensions/announce/events.jsonl --limit 12 --interval 0.2
stay
