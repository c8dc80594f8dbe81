"""Runtime: extensions in one process, as the service that both edges serve, and its durable half."""
