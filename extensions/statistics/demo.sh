#!/bin/sh
# Serves the extension, plays made-up runs of experiments, and shows the metrics that Prometheus would read.
. "$(dirname "$0")/../demo_parts.sh"
export EXTENSION_STATISTICS_LABELS=none # fewer lines to look at

show() {
    echo "\$ curl -s http://localhost:$health_port/metrics | grep ^experiment_"
    "$bin/python" - "$health_port" <<'END_OF_PYTHON'
import sys, urllib.request
with urllib.request.urlopen(f"http://localhost:{sys.argv[1]}/metrics", timeout=10) as page:
    print("".join(line.decode() for line in page if line.startswith(b"experiment_")), end="")
END_OF_PYTHON
}

counts() { show | grep -q '^experiment_runs_total.*[1-9].0$'; }

say "The server: what it has counted is in its database."
serve extensions/statistics

say "A simulated agent plays runs of experiments. Metrics follow within five seconds."
play --generate 20 --fast
wait_until counts
show

say "After a restart the numbers go on."
kill "$server"
wait "$server" || true
serve extensions/statistics
wait_until counts
show | grep ^experiment_runs
stay
