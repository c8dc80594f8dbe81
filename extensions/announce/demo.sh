#!/bin/sh
# Serves two examples, plays recorded events against them as an agent would, and replays what has become a dead letter.
# On a terminal it goes on serving, with a dead letter to be replayed in the event log.
. "$(dirname "$0")/../demo_parts.sh"
export REPORTS="$directory/reports"

say "The server, with two examples: announce prints every event, pager calls somebody and writes a report."
serve extensions/announce extensions/pager

say "Everything that comes in, and what becomes of it, is in the event log, for a browser:"
echo "$event_log/"

say "A simulated agent plays recorded events. The line of the pager is engaged twice, so it calls again after 1 s and 2 s."
play --replay extensions/announce/events.jsonl --limit 4 --interval 1

say "The report had nowhere to go and gave up: a dead letter."
run deliveries list --status dead

say "With the directory there, one command tries it again."
echo "\$ mkdir reports"
mkdir "$REPORTS"
run deliveries replay --all
wait_until nothing_waits

say "Both have been delivered, the call in its third attempt, the report in its second."
run deliveries list --listener extension-pager.
cat "$REPORTS"/*

if [ -t 0 ]; then
    rm -r "$REPORTS"
    "$bin/extension-kit" agent "http://localhost:$port" --replay extensions/announce/events.jsonl --fresh-ids --fast >/dev/null
    wait_until nothing_waits
    mkdir "$REPORTS"
    say "Another report has given up meanwhile, and its directory is there again. Replay it in the event log:"
    echo "$event_log/deliveries?status=dead"
fi
stay
