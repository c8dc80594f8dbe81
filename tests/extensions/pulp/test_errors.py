"""Documents of errors, which Pulp's bindings take apart (Pulp 2, exception handling)."""

import json

import pytest

from tests.extensions.pulp.api import EVENTS, HTTP, UNKNOWN

KEYS = {"http_request_method", "exception", "error_message", "_href", "http_status", "error", "traceback"}


def check(error, status, code, description, data, method="POST", href="/pulp/api/v2/events/", **extra):
    assert error == {
        "http_request_method": method,
        "exception": None,
        "traceback": None,
        "error_message": description,
        "_href": href,
        "http_status": status,
        "error": {"code": code, "description": description, "data": data, "sub_errors": []},
        **extra,
    }
    error.pop("error")  # the bindings do


@pytest.mark.parametrize(
    ("body", "name"),
    [({"event_types": ["foo"]}, "event_types"), ({"event_types": ["*"]}, "notifier_type_id")],
)
def test_invalid_values(api, body, name):
    listed = f"['{name}']"
    check(
        api.ask("POST", body=body, status=400),
        400,
        "PLP0015",
        f"Invalid properties: {listed}",
        {"property_names": [name], "properties": listed},
        property_names=[name],
    )


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json(api, body):
    text = "The request body does not contain valid JSON"
    check(api.ask("POST", body=body, status=400), 400, "PLP1009", text, {}, args=[])


@pytest.mark.parametrize("body", [b"{", b"nothing", b"\xff\xfe", b"[" * 100_000], ids=["cut", "word", "bytes", "deep"])
def test_an_update_that_is_not_json_changes_nothing(api, body):
    made = api.create()
    path = api.one(made["id"])
    text = "The request body does not contain valid JSON"
    check(api.ask("PUT", path, body, status=400), 400, "PLP1009", text, {}, "PUT", f"/pulp/api{path}", args=[])
    assert api.ask("GET") == [made]


@pytest.mark.parametrize("body", [[], ["a"], "text", None, 1, True])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_json_that_is_no_object(api, method, body):
    path = EVENTS if method == "POST" else api.one(api.create()["id"])
    error = api.ask(method, path, json.dumps(body).encode(), status=400)
    text = "The JSON data must be of type 'dict'."
    check(error, 400, "PLP1015", text, {"data_type": "dict"}, method, f"/pulp/api{path}", args=[])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("prefix", ["", "/pulp/api"])
def test_a_missing_listener(api, method, prefix):
    error = api.ask(method, f"{prefix}{EVENTS}{UNKNOWN}/", status=404)
    text, resources = f"Missing resource(s): event_listener={UNKNOWN}", {"event_listener": UNKNOWN}
    href = f"/pulp/api{EVENTS}{UNKNOWN}/"
    check(error, 404, "PLP0009", text, {"resources": resources}, method, href, resources=resources)


@pytest.mark.parametrize("body", [b"{", {"event_types": ["foo"]}])
def test_a_missing_listener_is_named_before_a_bad_body(api, body):
    assert api.ask("PUT", api.one(UNKNOWN), body, status=404)["error"]["code"] == "PLP0009"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/v2/nothing/", "/v2/", "/pulp/api/v2/nothing/", "/v2/events/a/b/c/"])
def test_an_unknown_path_is_answered_with_null(api, path, method):
    assert api.ask(method, path, status=404) is None


@pytest.mark.parametrize(
    ("path", "methods", "allowed"),
    [
        (EVENTS, ["PUT", "DELETE", "PATCH"], "GET, POST, HEAD, OPTIONS"),
        (f"{EVENTS}{UNKNOWN}/", ["POST", "PATCH"], "GET, PUT, DELETE, HEAD, OPTIONS"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/pulp/api"], ids=["short", "long"])
@pytest.mark.parametrize("slash", ["/", ""], ids=["slash", "no-slash"])
def test_a_wrong_method(api, path, methods, allowed, prefix, slash):
    path = prefix + path.rstrip("/") + slash
    for method in methods:
        reply = api.client.open(path, method=method)
        assert (reply.status_code, reply.data, reply.headers["Allow"]) == (405, b"", allowed)
        assert reply.headers["Content-Type"].startswith("text/html")
    reply = api.client.options(path)
    assert (reply.status_code, reply.data, reply.headers["Allow"]) == (200, b"", allowed)


def test_a_body_that_is_too_large(api):
    error = api.ask("POST", body=b"[" + b" " * 9_000_000, status=413)
    assert error.keys() >= KEYS


def test_an_unexpected_error_tells_nothing_of_the_inside(api, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("s3cret")

    monkeypatch.setattr("extensions.pulp.listeners.Listeners.all", fail)
    reply = api.client.get(EVENTS)
    assert reply.status_code == 500
    assert "s3cret" not in reply.text
    check(reply.json, 500, "PLP0000", "Internal server error; the log of the server has the reason", {}, "GET")
    assert "s3cret" in caplog.text


def test_a_database_that_is_gone(api, monkeypatch):
    from extension_kit.errors import StoreUnavailable

    def fail(*args):
        raise StoreUnavailable("gone", retry_after=7)

    monkeypatch.setattr("extensions.pulp.listeners.Listeners.create", lambda *args, **more: fail())
    reply = api.client.post(EVENTS, data=json.dumps(HTTP))
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "7")
    check(reply.json, 503, "PLP0000", "The database cannot be used; nothing was changed", {})
