"""Views put together by hand that keep listeners with SQLAlchemy: a table, a session, and no subscription."""

import os
import secrets
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from sqlalchemy import JSON, Engine, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The models."""


class Listener(Base):
    """A listener."""

    __tablename__ = "plain_listeners"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    notifier: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    types: Mapped[list[str]] = mapped_column(JSON)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "notifier_type_id": self.notifier,
            "notifier_config": self.config,
            "event_types": self.types,
        }


def _engine() -> Engine:
    engine = create_engine(os.environ["LISTENERS_URL"])
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def wait_for_the_disk(connection: Any, _: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    Base.metadata.create_all(engine)
    return engine


app = Flask(__name__)
engine = _engine()


@app.post("/pulp/api/v2/events/")
def create() -> tuple[Response, int]:
    body = request.get_json()
    with Session(engine) as session:
        listener = Listener(
            id=secrets.token_hex(12),
            notifier=body["notifier_type_id"],
            config=body["notifier_config"],
            types=body["event_types"],
        )
        session.add(listener)
        session.commit()
        return jsonify(listener.shown()), 201


@app.get("/pulp/api/v2/events/<id>/")
def get(id: str) -> Response:
    with Session(engine) as session:
        return jsonify((session.get(Listener, id) or abort(404)).shown())


@app.put("/pulp/api/v2/events/<id>/")
def update(id: str) -> Response:
    with Session(engine) as session:
        listener = session.get(Listener, id) or abort(404)
        listener.config = listener.config | request.get_json()["notifier_config"]
        session.commit()
        return jsonify(listener.shown())


@app.delete("/pulp/api/v2/events/<id>/")
def delete(id: str) -> Response:
    with Session(engine) as session:
        session.delete(session.get(Listener, id) or abort(404))
        session.commit()
        return jsonify(None)
