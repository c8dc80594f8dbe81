"""flask-smorest, the closest to the kit's own parts (Flask, marshmallow, apispec), with the kit's own schemas."""

from flask import Flask
from flask_smorest import Api, Blueprint

from extension_kit.events.schema.bodies import EventRequestBody

app = Flask(__name__)
app.config.update(API_TITLE="benchmark", API_VERSION="1", OPENAPI_VERSION="3.1.0")
events = Blueprint("events", __name__)


@events.post("/events")
@events.arguments(EventRequestBody)
@events.response(200)
def receive(event: dict[str, object]) -> dict[str, object]:
    return {}


Api(app).register_blueprint(events)
