#!/bin/sh
# Serves the extension beside a receiver of messages, which prints them, and plays recorded runs.
. "$(dirname "$0")/../demo_parts.sh"

say "A receiver of messages in JSON, in place of Slack and the like."
stand_in extensions/notify/demo_receiver.py
EXTENSION_NOTIFY_URLS="oncall=json://127.0.0.1:$address/messages"
EXTENSION_NOTIFY_EVENTS='experiment.execution.failed,experiment.execution.errored,experiment.execution.completed'
EXTENSION_NOTIFY_LINK='https://platform.steadybit.com/experiments/edit/{{ run.experiment_key }}/executions/{{ run.execution_id }}'
export EXTENSION_NOTIFY_URLS EXTENSION_NOTIFY_EVENTS EXTENSION_NOTIFY_LINK
echo "\$ export EXTENSION_NOTIFY_URLS='$EXTENSION_NOTIFY_URLS'"
echo "\$ export EXTENSION_NOTIFY_EVENTS=$EXTENSION_NOTIFY_EVENTS"
echo "\$ export EXTENSION_NOTIFY_LINK='$EXTENSION_NOTIFY_LINK'"

say "The extension, with that channel."
serve extensions/notify

say "A simulated agent plays recorded runs. Each end becomes one message."
play --replay extensions/announce/events.jsonl --fast
stay
