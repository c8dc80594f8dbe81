#!/bin/sh
# Serves this example, plays recorded events against it as an agent would, and keeps serving on a terminal.
# Usage: demo.sh EXTENSION_KIT URL
set -eu
kit=$1
url=$2
here=$(dirname "$0")

"$kit" serve "$here" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server || true' EXIT
trap 'exit 130' INT TERM

# Another server may have the port: then ours has ended by now, having said so.
sleep 1
kill -0 $server 2>/dev/null || exit 2
"$kit" agent "$url" --replay "$here/events.jsonl" --limit 6 --interval 1 --wait 20

if [ -t 0 ]; then
    echo "Still serving at $url: try  curl $url/  or send more events with  extension-kit agent $url --generate 100"
    echo "Ctrl-C ends it."
    wait $server
fi
