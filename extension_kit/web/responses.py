"""Conversion of the core's answers to Flask responses, and compression."""

from flask import Response

from extension_kit.events.answers import Answer, compressed


def respond(answer: Answer) -> Response:
    """Make a response from an answer."""
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


def compress(response: Response, accept_encoding: str) -> Response:
    """Compress a response with gzip if it is large enough, not compressed yet, and the client accepts gzip.

    Args:
        response: the response.
        accept_encoding: the header ``Accept-Encoding`` of its request.
    """
    if response.is_streamed or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    plain = Answer(response.status_code, response.get_data())
    answer = compressed(plain, accept_encoding)
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.body is not plain.body:
        response.set_data(answer.body)
    return response
