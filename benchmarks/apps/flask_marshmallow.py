"""Flask and marshmallow, put together by hand, with the kit's own schemas."""

from flask import Flask, request
from marshmallow import ValidationError

from extension_kit.events.schema.bodies import EventRequestBody

app = Flask(__name__)
schema = EventRequestBody()


@app.post("/events")
def receive() -> tuple[dict[str, object], int]:
    try:
        schema.load(request.get_json())
    except ValidationError as error:
        return {"errors": error.messages}, 422
    return {}, 200
