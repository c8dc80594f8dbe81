"""FastAPI with a plain function, which it runs on a thread, as the kit does."""

from fastapi import FastAPI

from benchmarks.apps.pydantic_models import Event

app = FastAPI()


@app.post("/events")
def receive(event: Event) -> dict[str, object]:
    return {}
