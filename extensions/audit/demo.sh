#!/bin/sh
# Serves the extension with a folder as its target, and plays recorded events, the last of them twice.
. "$(dirname "$0")/../demo_parts.sh"
export EXTENSION_AUDIT_TARGET="file://$directory/audit"

say "The extension, with a folder that is removed at the end."
echo "\$ export EXTENSION_AUDIT_TARGET=file:///.../audit"
serve extensions/audit

say "A simulated agent plays recorded events, and then the same again, as an agent does that got no answer."
play --replay extensions/announce/events.jsonl --fast
play --replay extensions/announce/events.jsonl --fast

say "Each event is kept once: a file for each day, a line for each event."
wc -l "$directory"/audit/*
cut -c 1-150 "$directory"/audit/* | tail -n 3
stay
