"""Extensions put together in one process: the service that both edges serve, and its durable half."""
