"""Events that come in: their names, listeners, validation, and the way from the bytes of a request to its answer."""
