"""A function for functions-framework, which decodes CloudEvents and leaves their content to the function."""

from pathlib import Path

import functions_framework
from cloudevents.http import CloudEvent


@functions_framework.cloud_event
def receive(event: CloudEvent) -> None:
    event.data["eventName"]


def create_app() -> object:
    return functions_framework.create_app("receive", str(Path(__file__)))
