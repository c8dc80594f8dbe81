"""Answers of the core as responses of Flask."""

from flask import Response, request

from extension_kit.events.answers import Answer, compressed


def respond(answer: Answer) -> Response:
    """Make a response of an answer."""
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


def compress(response: Response) -> Response:
    """Compress a response that is large enough, where the client accepts it and nobody has done so."""
    if response.is_streamed or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    plain = Answer(response.status_code, response.get_data())
    answer = compressed(plain, request.headers.get("Accept-Encoding", ""))
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.body is not plain.body:
        response.set_data(answer.body)
    return response
