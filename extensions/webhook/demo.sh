#!/bin/sh
# Serves the extension beside a receiver, which checks signatures and prints CloudEvents, and plays recorded events.
. "$(dirname "$0")/../demo_parts.sh"
export EXTENSION_DELIVERY_ALLOW_NETWORKS=127.0.0.0/8
EXTENSION_WEBHOOK_SECRET="whsec_$("$bin/python" -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())')"

say "A receiver, which checks the signature of each event and reads it with the library of CloudEvents."
stand_in extensions/webhook/demo_receiver.py "$EXTENSION_WEBHOOK_SECRET"
export EXTENSION_WEBHOOK_SECRET EXTENSION_WEBHOOK_URL="$address"
export EXTENSION_WEBHOOK_FORMAT=cloudevents EXTENSION_WEBHOOK_EVENTS='experiment.execution.*'

say "The extension, with the URL of that receiver and the same secret."
echo "\$ export EXTENSION_WEBHOOK_URL=$EXTENSION_WEBHOOK_URL EXTENSION_WEBHOOK_SECRET=whsec_..."
echo "\$ export EXTENSION_WEBHOOK_FORMAT=$EXTENSION_WEBHOOK_FORMAT EXTENSION_WEBHOOK_EVENTS='$EXTENSION_WEBHOOK_EVENTS'"
serve extensions/webhook

say "A simulated agent plays recorded events, which arrive in the order of their run."
play --replay extensions/announce/events.jsonl --limit 8 --interval 0.2
stay
