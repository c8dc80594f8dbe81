"""The server behind ``extension-kit serve``: processes, edges, ports and TLS."""
