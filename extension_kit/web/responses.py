"""Conversion of the core's answers to Flask responses, and compression."""

from flask import Response, request

from extension_kit.events.answers import Answer, compressed


def respond(answer: Answer) -> Response:
    """Make a response from an answer."""
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


def compress(response: Response) -> Response:
    """Compress a response with gzip if it is large enough, not compressed yet, and the client accepts gzip."""
    if response.is_streamed or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    plain = Answer(response.status_code, response.get_data())
    answer = compressed(plain, request.headers.get("Accept-Encoding", ""))
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.body is not plain.body:
        response.set_data(answer.body)
    return response
