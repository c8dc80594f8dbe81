#!/bin/sh
# Serves two examples, plays recorded events against them as an agent would, and replays what has become a dead letter.
# On a terminal it goes on serving, with a dead letter to be replayed in the event log. What it writes is in a directory of its own, which is removed at the end.
# Usage: demo.sh EXTENSION_KIT, with the ports as settings in the environment
set -eu
bin=$(cd "$(dirname "$1")" && pwd)
cd "$(dirname "$0")/../.."
port=${STEADYBIT_EXTENSION_PORT:-8080}
health_port=${STEADYBIT_EXTENSION_HEALTH_PORT:-8081}
event_log=http://127.0.0.1:${EXTENSION_EVENT_LOG_PORT:=8082}
server=

directory=$(mktemp -d)
trap '[ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true; rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM
export EXTENSION_DATABASE_URL="sqlite:///$directory/events.db" REPORTS="$directory/reports"
export EXTENSION_EVENT_LOG_PORT EXTENSION_EVENT_LOG_OPEN=loopback
export STEADYBIT_LOG_LEVEL="${STEADYBIT_LOG_LEVEL:-warn}"

say() {
    printf '\n# %s\n' "$1"
}

run() {
    echo "\$ extension-kit $*"
    "$bin/extension-kit" "$@"
}

is_ready() {
    "$bin/python" - "$health_port" 2>/dev/null <<'END'
import http.client, sys
connection = http.client.HTTPConnection("localhost", int(sys.argv[1]), timeout=2)
connection.request("GET", "/health/readiness")
sys.exit(connection.getresponse().status != 200)
END
}

nothing_waits() {
    "$bin/extension-kit" db status | grep -q '^waiting  *0$'
}

# Asks again and again, for half a minute or so, as long as the server lives.
wait_until() {
    questions=100
    until "$1"; do
        kill -0 "$server" 2>/dev/null || wait "$server"
        questions=$((questions - 1))
        [ "$questions" -gt 0 ] || { echo "demo.sh: gave up waiting: $1" >&2; exit 1; }
        sleep 0.2
    done
}

if is_ready; then
    "$bin/extension-kit" serve extensions/announce # another server has the port: ours says so, with exit code 2
    exit
fi

say "The server, with two examples: announce prints every event, pager calls somebody and writes a report."
echo "\$ extension-kit serve extensions/announce extensions/pager"
"$bin/extension-kit" serve extensions/announce extensions/pager &
server=$!
wait_until is_ready

say "Everything that comes in, and what becomes of it, is in the event log, for a browser:"
echo "$event_log/"

say "A simulated agent plays recorded events. The line of the pager is engaged twice, so it calls again after 1 s and 2 s."
export TTY_COMPATIBLE=0 # no progress bar amid what the server prints
run agent "http://localhost:$port" --replay extensions/announce/events.jsonl --limit 4 --interval 1
unset TTY_COMPATIBLE
wait_until nothing_waits

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

    say "Still serving at http://localhost:$port, until Ctrl-C. In another terminal:"
    echo "\$ $bin/extension-kit agent http://localhost:$port --generate 100"
    wait "$server"
fi
