"""Schemas of events: marshmallow classes as the source, OpenAPI components made of them, and compiled validators."""
