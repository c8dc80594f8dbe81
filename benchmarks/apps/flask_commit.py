"""A view put together by hand: marshmallow checks the event, and a commit of its own keeps it in SQLite."""

import os
import sqlite3
import threading

from flask import Flask, request
from marshmallow import ValidationError

from extension_kit.events.schema.bodies import EventRequestBody

app = Flask(__name__)
schema = EventRequestBody()
local = threading.local()


TABLE = "CREATE TABLE IF NOT EXISTS events (ref INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL)"


def database() -> sqlite3.Connection:
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(os.environ["EVENTS"], timeout=10)
        local.connection.execute("PRAGMA journal_mode=WAL")
        local.connection.execute("PRAGMA synchronous=FULL")
        local.connection.execute(TABLE)
    return local.connection


@app.post("/events")
def receive() -> tuple[dict[str, object], int]:
    body = request.get_json()
    try:
        schema.load(body)
    except ValidationError as error:
        return {"errors": error.messages}, 422
    with database() as connection:
        connection.execute(
            "INSERT INTO events (id, body) VALUES (?, ?) ON CONFLICT DO NOTHING", (body["id"], request.get_data())
        )
    return {}, 200
