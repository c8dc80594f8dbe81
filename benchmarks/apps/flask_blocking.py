"""The same as two Flask views."""

import time

from flask import Flask, request

app = Flask(__name__)


@app.post("/events")
def call_another_service() -> dict[str, object]:
    request.get_json()["eventName"]
    time.sleep(0.005)
    return {}


@app.post("/quick")
def do_nothing() -> dict[str, object]:
    request.get_json()["eventName"]
    return {}
