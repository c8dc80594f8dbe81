"""What a user has without any kit: a view that decodes, and checks nothing."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/events")
def receive() -> dict[str, object]:
    request.get_json()["eventName"]
    return {}
