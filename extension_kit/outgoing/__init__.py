"""Connections to others, and what every client of HTTP makes of their answers."""
