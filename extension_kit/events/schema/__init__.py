"""Schemas of events: marshmallow's as the source, the OpenAPI components made of them, and the compiled validators."""
