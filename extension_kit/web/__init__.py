"""The Flask application: the ordinary edge, the registration document, and the routes of protocols."""
