# What the demonstrations have in common. A demo.sh begins with:  . "$(dirname "$0")/../demo_parts.sh"
# Usage: demo.sh EXTENSION_KIT, with the ports as settings in the environment. What a demonstration writes is in
# $directory, which is removed at the end, as is the server.
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
export EXTENSION_DATABASE_URL="sqlite:///$directory/events.db"
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
    "$bin/extension-kit" db status | awk '/^(waiting|unfiled) / { seen += 1; left += $2 } END { exit seen < 2 || left > 0 }'
}

# Asks again and again, for half a minute or so, as long as the server lives.
wait_until() {
    questions=100
    until "$1"; do
        [ -z "$server" ] || kill -0 "$server" 2>/dev/null || wait "$server"
        questions=$((questions - 1))
        [ "$questions" -gt 0 ] || { echo "demo.sh: gave up waiting: $1" >&2; exit 1; }
        sleep 0.2
    done
}

has_address() {
    [ -s "$directory/address" ]
}

# Runs a Python program in place of another system, and sets $address to what it writes into the file that is its last
# argument. It ends when the demonstration does.
stand_in() {
    "$bin/python" "$@" "$directory/address" &
    wait_until has_address
    address=$(cat "$directory/address")
}

# Serves extensions, until the demonstration ends.
serve() {
    echo "\$ extension-kit serve $*"
    "$bin/extension-kit" serve "$@" &
    server=$!
    wait_until is_ready
}

# Plays an agent, with the options given, and waits until everything is delivered.
play() {
    export TTY_COMPATIBLE=0 # no progress bar amid what the server prints
    run agent "http://localhost:$port" "$@"
    unset TTY_COMPATIBLE
    wait_until nothing_waits
}

# On a terminal, goes on serving.
stay() {
    [ -t 0 ] || return 0
    say "Still serving at http://localhost:$port, until Ctrl-C. In another terminal:"
    case $bin in # for a shell
    *" "*) echo "\$ '$bin/extension-kit' agent http://localhost:$port --generate 100" ;;
    *) echo "\$ $bin/extension-kit agent http://localhost:$port --generate 100" ;;
    esac
    wait "$server"
}

if is_ready; then
    "$bin/extension-kit" serve extensions/announce # another server has the port: ours says so, with exit code 2
    exit
fi
