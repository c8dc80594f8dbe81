"""The Flask edge: listener paths, registration document, health, metrics and routes of protocols."""
