"""Actions: their requests, secrets and security; lists, changes and deletion."""

import re

import pytest
from sqlalchemy import update

from extensions.eventhos.encryption import Encryption
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import actions
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.managing import (
    LARGEST_OF_PATH,
    NUL,
    TOO_LARGE,
    items,
    new_action,
    new_contract,
    new_system,
    row,
)

URL = "http://erp.test/employees"
REQUEST = {"url": URL, "method": "post", "headers": [], "queryUrlParams": []}
OAUTH2 = {
    "securityType": 1,
    "securityUrl": "https://auth.test/token",
    "clientId": "erp",
    "clientSecret": "the secret & more",
}
PASSED_ON = {"url": URL, "method": "post", "headers": {}, "data": {}, "params": {}}


def new(api, **more):
    return {"system_id": new_system(api), "identifier": "add", "name": "Add", **REQUEST, **more}


def shown(api, id):
    return api.ask("GET", f"/action/{id}")["content"]


def configuration(api, **more):
    """Create an action, and return its request as it is shown."""
    return shown(api, new_action(api, **more))["httpConfiguration"]


def kept(api, id):
    """Return the request of an action as it is kept."""
    return decrypted(api, row(api, actions, id).request)


def decrypted(api, value):
    return Encryption.of(api.kit, EventhosSettings(crypto_key=(CRYPTO_KEY,))).decrypt(value)


class TestCreation:
    def test_all_its_columns_are_shown(self, api):
        body = new(api, operation="new", description="to the ERP", reply_to="employee-added-0123456789")
        made = api.ask("POST", "/action", body, status=201)
        id = made["content"]["actionId"]
        assert made == {"code": 200001, "message": "success", "content": {"actionId": id}}
        content = shown(api, id)
        assert re.fullmatch(r"add-[A-Za-z0-9]{10}", content.pop("identifier"))
        assert content.pop("created_at") == content.pop("updated_at")
        assert content == {
            "id": id,
            "name": "Add",
            "httpConfiguration": PASSED_ON,
            "operation": "new",
            "description": "to the ERP",
            "deleted": False,
            "reply_to": "employee-added-0123456789",
            "security": {"type": "custom", "httpConfiguration": {}},
        }

    def test_an_identifier_that_exists_is_refused(self, api):
        id = new_action(api)
        identifier = shown(api, id)["identifier"]
        api.refused("POST", "/action", new(api, identifier=identifier), status=400, code=400001)
        api.ask("DELETE", f"/action/{id}", status=201)
        api.refused("POST", "/action", new(api, identifier=identifier), status=400, code=400001)

    def test_an_unknown_system_is_not_found(self, api):
        api.refused("POST", "/action", new(api, system_id=10**9), status=404, code=404301)

    def test_a_producer_gets_no_requests(self, api):
        body = new(api, system_id=new_system(api, "producer"))
        assert "producer" in api.refused("POST", "/action", body, status=400, code=400306)

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"system_id": TOO_LARGE}, "system_id"),
            ({"identifier": "a b"}, "identifier"),
            ({"name": NUL}, "name"),
            ({"name": ""}, "name"),
            ({"operation": "a" * 26}, "operation"),
            ({"description": NUL}, "description"),
            ({"reply_to": "a" * 101}, "reply_to"),
            ({"reply_to": NUL}, "reply_to"),
            ({"url": ""}, "url"),
            ({"url": "http://erp.test/" + "a" * 2000}, "url"),
            ({"url": "http://erp.test/\r\na"}, "url"),
            ({"url": "ftp://erp.test/"}, "url"),
            ({"url": "http://${.body.host}/"}, "url"),
            ({"url": "http://erp.test/${body}"}, "url"),
            ({"method": "HEAD"}, "method"),
            ({"method": 7}, "method"),
            ({"headers": "a"}, "headers"),
            ({"headers": [{"value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "X A", "value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "", "value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "Ä", "value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "X\n", "value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "HOST", "value": "a"}]}, "headers.0.key"),
            ({"headers": [{"key": "Content-Length", "value": 1}]}, "headers.0.key"),
            ({"headers": [{"key": "Transfer-Encoding", "value": "chunked"}]}, "headers.0.key"),
            ({"headers": [{"key": "connection", "value": "close"}]}, "headers.0.key"),
            ({"headers": [{"key": "X", "value": "a\r\nY: b"}]}, "headers.0.value"),
            ({"headers": [{"key": "X", "value": NUL}]}, "headers.0.value"),
            ({"headers": [{"key": "X", "value": {"a": 1}}]}, "headers.0.value"),
            ({"headers": [{"key": "X", "value": "a" * 8001}]}, "headers.0.value"),
            ({"headers": [{"key": "X", "value": "a"}, {"key": "x", "value": "b"}]}, "headers.x"),
            ({"headers": [{"key": "X", "value": "${.}"}]}, "headers.X"),
            ({"headers": [{"key": "X", "value": "****", "secret": True}]}, "headers.X"),
            ({"headers": [{"key": f"X{n}", "value": "a"} for n in range(101)]}, "headers"),
            ({"headers": [7]}, "headers.0"),
            ({"queryUrlParams": [{"key": "", "value": "a"}]}, "queryUrlParams.0.key"),
            ({"queryUrlParams": [{"key": "p", "value": []}]}, "queryUrlParams.0.value"),
            ({"queryUrlParams": [{"key": "p", "value": "${body}"}]}, "params.p"),
            ({"body": [{"value": 1}]}, "body.0.key"),
            ({"body": {"a": 1}}, "body"),
            ({"body": [{"key": "a", "value": ["${..a..b}"]}]}, "body.a[0]"),
            ({"rawBody": "{"}, "rawBody"),
            ({"rawBody": "${.body}"}, "rawBody"),
            ({"rawBody": {"a": {"b": "${.}"}}}, "body.a.b"),
            ({"rawBody": "[" * 5000 + "]" * 5000}, "rawBody"),
            ({"rawBody": "[" * 300 + "]" * 300}, "nested too deep"),
            ({"rawBody": "[" * 150 + "]" * 150}, "nested more than 100 deep"),
            ({"rawBody": {"a": "b" * 10**6}}, "more than 1000000 bytes"),
            ({"rawBody": ["${.body}"] * 1001}, "more than 1000 placeholders"),
            ({"rawBody": {"a": "${.body}" * 1001}}, "more than 1000 placeholders"),
            ({"bodyExpression": "a = b"}, "bodyExpression: no JMESPath: wrong at position 2"),
            ({"bodyExpression": "[["}, "position"),
            ({"bodyExpression": "!" * 1900}, "bodyExpression"),
            ({"bodyExpression": "(" * 1900}, "bodyExpression"),
            ({"bodyExpression": "a" * 2001}, "bodyExpression"),
            ({"bodyExpression": 7}, "bodyExpression"),
            ({"rawFunctionBody": "return {}"}, "bodyExpression"),
            ({"securityType": 2}, "securityType"),
            ({"securityType": True}, "securityType"),
            ({"securityType": []}, "securityType"),
            ({**OAUTH2, "securityUrl": None}, "securityUrl"),
            ({**OAUTH2, "securityUrl": "http://auth.test/${.body.path}"}, "securityUrl"),
            ({**OAUTH2, "securityUrl": "auth.test"}, "securityUrl: write http"),
            ({**OAUTH2, "securityUrl": "http://auth.test/\n"}, "securityUrl"),
            ({**OAUTH2, "clientId": ""}, "clientId"),
            ({**OAUTH2, "clientSecret": ""}, "clientSecret"),
            ({**OAUTH2, "clientSecret": "****"}, "clientSecret"),
        ],
        ids=lambda each: f"{each}"[:60],
    )
    def test_a_malformed_body_is_refused_with_its_place(self, api, wrong, named):
        assert named in api.refused("POST", "/action", new(api, **wrong), status=400, code=400004)
        id = new_action(api)
        before = shown(api, id)
        if named not in ("system_id", "identifier"):
            assert named in api.refused("PUT", f"/action/{id}", {**REQUEST, **wrong}, status=400, code=400004)
        assert shown(api, id) == before
        assert len(items(api, "/action")) == 1

    @pytest.mark.parametrize("missing", ["system_id", "identifier", "name", "url", "method"])
    def test_a_missing_key_is_named(self, api, missing):
        body = {key: value for key, value in new(api).items() if key != missing}
        assert missing in api.refused("POST", "/action", body, status=400, code=400004)


class TestRequests:
    def test_headers_and_parameters_are_texts(self, api):
        pairs = [
            {"key": "a", "value": "x ${.body.a}"},
            {"key": "b", "value": 7},
            {"key": "c", "value": True},
            {"key": "d", "value": 1.5},
            {"key": "e", "value": None},
            {"key": "f"},
        ]
        made = configuration(api, headers=pairs, queryUrlParams=pairs)
        expected = {"a": "x ${.body.a}", "b": "7", "c": "true", "d": "1.5", "e": "", "f": ""}
        assert made["headers"] == made["params"] == expected

    @pytest.mark.parametrize("method", ["GET", "post", "Put", "PATCH", "delete"])
    def test_methods_are_shown_as_they_were_sent(self, api, method):
        assert configuration(api, method=method)["method"] == method

    @pytest.mark.parametrize(
        ("sent", "data"),
        [
            ({}, {}),
            ({"body": []}, {}),
            ({"body": None, "headers": None}, {}),
            ({"rawBody": ""}, {}),
            ({"rawBody": " "}, {}),
            ({"rawBody": None, "rawFunctionBody": None}, {}),
            ({"rawBody": "null"}, {}),
            ({"rawFunctionBody": " \n"}, {}),
            ({"rawBody": {}}, {}),
            ({"rawBody": "{}"}, {}),
            ({"body": [{"key": "a", "value": "${.body.n}"}, {"key": "b", "value": {"c": [1]}}, {"key": "d"}]},
             {"a": "${.body.n}", "b": {"c": [1]}, "d": None}),
            ({"rawBody": {"integration": True}, "body": [{"key": "a", "value": 1}]}, {"integration": True}),
            ({"rawBody": '{"a": ["${.body.n}", 1, null]}'}, {"a": ["${.body.n}", 1, None]}),
            ({"rawBody": '"${.body.list}"'}, "${.body.list}"),
            ({"rawBody": [1, 2]}, [1, 2]),
            ({"rawBody": []}, []),
            ({"rawBody": 0}, 0),
            ({"rawBody": False}, False),
            ({"rawBody": {"a": NUL, NUL: 2**63}}, {"a": NUL, NUL: 2**63}),
        ],
        ids=lambda each: f"{each}"[:50],
    )  # fmt: skip
    def test_bodies_are_pairs_or_any_json_or_passed_on(self, api, sent, data):
        assert configuration(api, **sent)["data"] == data

    def test_an_expression_is_shown(self, api):
        assert configuration(api, bodyExpression="{sex: sexo}")["bodyExpression"] == "{sex: sexo}"

    def test_it_is_kept_encrypted_as_a_template(self, api):
        headers = [{"key": "X-Key", "value": "hush", "secret": True}, {"key": "X-Other", "value": "seen"}]
        id = new_action(api, headers=headers, rawBody={"a": 1}, bodyExpression=" a ", **OAUTH2)
        assert kept(api, id) == {
            "url": URL,
            "method": "post",
            "headers": {"X-Key": "hush", "X-Other": "seen"},
            "params": {},
            "body": {"a": 1},
            "expression": "a",
            "secretHeaders": ["X-Key"],
        }
        found = row(api, actions, id)
        assert b"hush" not in found.request
        assert b"the secret" not in found.security
        expected = {"url": "https://auth.test/token", "clientId": "erp", "clientSecret": "the secret & more"}
        assert decrypted(api, found.security) == expected

    def test_without_a_body_and_an_expression_both_are_null(self, api):
        request = kept(api, new_action(api))
        assert (request["body"], request["expression"], request["secretHeaders"]) == (None, None, [])


class TestSecretHeaders:
    HEADERS = ({"key": "X-Key", "value": "hush", "secret": True}, {"key": "X-Other", "value": "seen"})

    def test_their_values_are_not_shown(self, api):
        id = new_action(api, headers=self.HEADERS)
        request = shown(api, id)["httpConfiguration"]
        assert request["headers"] == {"X-Key": "****", "X-Other": "seen"}
        assert request["secretHeaders"] == ["X-Key"]
        assert "hush" not in f"{api.ask('GET', '/action')}{shown(api, id)}"

    @pytest.mark.parametrize("more", [{}, {"secret": True}, {"secret": False}], ids=str)
    @pytest.mark.parametrize("name", ["X-Key", "x-key"])
    def test_they_are_kept_if_they_are_sent_as_they_are_shown(self, api, more, name):
        id = new_action(api, headers=self.HEADERS)
        sent = [{"key": name, "value": "****", **more}]
        for _ in range(2):
            api.ask("PUT", f"/action/{id}", {**REQUEST, "headers": sent}, status=201)
            assert kept(api, id)["headers"] == {name: "hush"}
            assert shown(api, id)["httpConfiguration"]["headers"] == {name: "****"}

    @pytest.mark.parametrize("url", ["http://other.test/", "https://erp.test/", "http://erp.test:81/"])
    def test_another_host_does_not_get_them(self, api, url):
        id = new_action(api, headers=self.HEADERS)
        body = {**REQUEST, "url": url, "headers": [{"key": "X-Key", "value": "****"}]}
        message = api.refused("PUT", f"/action/{id}", body, status=400, code=400004)
        assert "send the secret again" in message
        assert kept(api, id)["headers"]["X-Key"] == "hush"

    def test_they_change_if_they_are_sent(self, api):
        id = new_action(api, headers=self.HEADERS)
        sent = [{"key": "X-Key", "value": "new", "secret": True}]
        api.ask("PUT", f"/action/{id}", {**REQUEST, "headers": sent}, status=201)
        assert kept(api, id)["headers"] == {"X-Key": "new"}

    def test_they_end_if_they_are_left_out(self, api):
        id = new_action(api, headers=self.HEADERS)
        api.ask("PUT", f"/action/{id}", REQUEST, status=201)
        assert kept(api, id)["secretHeaders"] == []

    def test_stars_that_hide_nothing_are_a_text(self, api):
        assert kept(api, new_action(api, headers=[{"key": "X", "value": "****"}]))["headers"] == {"X": "****"}

    def test_a_message_about_another_part_does_not_show_them(self, api):
        body = new(api, headers=self.HEADERS, url="ftp://erp.test", **OAUTH2)
        message = api.refused("POST", "/action", body, status=400, code=400004)
        assert "hush" not in message
        assert "the secret" not in message


class TestSecurity:
    EXPECTED = {  # noqa: RUF012
        "type": "oauth2_client",
        "httpConfiguration": {
            "url": "https://auth.test/token",
            "client_id": "erp",
            "data": {"client_id": "erp", "client_secret": "****"},
        },
    }

    @pytest.mark.parametrize("kind", [1, "1", "oauth2_client"], ids=repr)
    def test_it_is_shown_without_the_secret(self, api, kind):
        assert shown(api, new_action(api, **{**OAUTH2, "securityType": kind}))["security"] == self.EXPECTED

    @pytest.mark.parametrize("kind", [0, "0", "custom", None], ids=repr)
    def test_custom_is_none(self, api, kind):
        id = new_action(api, **{**OAUTH2, "securityType": kind})
        assert shown(api, id)["security"] == {"type": "custom", "httpConfiguration": {}}
        assert row(api, actions, id).security is None

    @pytest.mark.parametrize("secret", [{}, {"clientSecret": "****"}, {"clientSecret": None}, {"clientSecret": ""}])
    def test_the_secret_is_kept_if_none_is_sent(self, api, secret):
        id = new_action(api, **OAUTH2)
        changes = {**REQUEST, "securityType": 1, "securityUrl": "https://auth.test/2", "clientId": "b", **secret}
        api.ask("PUT", f"/action/{id}", changes, status=201)
        expected = {"url": "https://auth.test/2", "clientId": "b", "clientSecret": "the secret & more"}
        assert decrypted(api, row(api, actions, id).security) == expected

    @pytest.mark.parametrize("secret", [{}, {"clientSecret": "****"}])
    def test_the_secret_is_not_sent_to_another_host(self, api, secret):
        id = new_action(api, **OAUTH2)
        changes = {**REQUEST, "securityType": 1, "securityUrl": "https://other.test/token", **secret}
        assert "send it again" in api.refused("PUT", f"/action/{id}", changes, status=400, code=400004)

    def test_it_stays_if_no_type_is_sent(self, api):
        id = new_action(api, **OAUTH2)
        api.ask("PUT", f"/action/{id}", REQUEST, status=201)
        assert shown(api, id)["security"] == self.EXPECTED

    def test_it_can_be_added_and_taken_away(self, api):
        id = new_action(api)
        api.ask("PUT", f"/action/{id}", {**REQUEST, **OAUTH2}, status=201)
        assert shown(api, id)["security"] == self.EXPECTED
        api.ask("PUT", f"/action/{id}", {**REQUEST, "securityType": 0}, status=201)
        assert shown(api, id)["security"]["type"] == "custom"


class TestLists:
    def test_an_action_is_listed_with_its_system_and_without_its_request(self, api):
        system = new_system(api, name="Payroll")
        id = new_action(api, system, operation="new", description="d", reply_to="r-0123456789")
        (listed,) = items(api, "/action")
        for key in ("identifier", "created_at", "updated_at"):
            del listed[key]
        assert listed == {
            "id": id,
            "system_id": system,
            "name": "A",
            "operation": "new",
            "description": "d",
            "deleted": 0,
            "http_configuration": "",
            "reply_to": "r-0123456789",
            "system_name": "Payroll",
        }

    def test_a_word_is_searched_in_names_and_identifiers(self, api):
        for identifier, name in (("first", "Add Employee"), ("second", "100% of_it"), ("third", "100 of it")):
            new_action(api, identifier=identifier, name=name)

        def found(word):
            return [each["name"] for each in items(api, "/action", wordSearch=word)]

        assert found("employee") == found("FIRST-") == ["Add Employee"]
        assert found("0%") == found("f_i") == ["100% of_it"]
        assert len(found("")) == 3
        assert found("nobody") == found(NUL) == found("%" * 60_000) == []

    @pytest.mark.parametrize("sort", ["name", "system_name", "request", "security", NUL], ids=repr)
    def test_they_have_pages_in_an_order(self, api, sort):
        ids = [new_action(api, name=name) for name in "abc"]
        content = api.ask("GET", "/action", itemsPerPage=2, order="desc", activeSort=sort)["content"]
        assert [each["id"] for each in content.pop("items")] == [ids[2], ids[1]]
        assert content == {"pageIndex": 0, "itemsPerPage": 2, "totalItems": 3, "totalPages": 2}


class TestChanges:
    def test_the_request_is_replaced_and_other_keys_that_are_missing_stay(self, api):
        pairs = [{"key": "a", "value": "b"}]
        id = new_action(api, headers=pairs, queryUrlParams=pairs, rawBody=[1], bodyExpression="a", reply_to="r")
        before = shown(api, id)
        done = api.ask("PUT", f"/action/{id}", REQUEST, status=201)
        assert done == {"code": 200001, "message": "success"}
        after = shown(api, id)
        assert {**after, "updated_at": ""} == {**before, "httpConfiguration": PASSED_ON, "updated_at": ""}

    def test_texts_change(self, api):
        id = new_action(api, reply_to="r")
        changes = {"name": "new", "operation": "update", "description": "other", "reply_to": ""}
        api.ask("PUT", f"/action/{id}", {**REQUEST, **changes, "identifier": "x"}, status=201)
        after = shown(api, id)
        assert {key: after[key] for key in changes} == {**changes, "reply_to": None}
        assert after["identifier"].startswith("add-employee-")


class TestDeletion:
    def test_the_row_stays_but_is_not_shown(self, api):
        id = new_action(api)
        assert api.ask("DELETE", f"/action/{id}", status=201) == {"code": 200001, "message": "success"}
        assert items(api, "/action") == []
        assert row(api, actions, id).deleted

    def test_one_in_use_stays(self, api):
        id = new_action(api)
        contract = new_contract(api, action_id=id)
        assert "contracts" in api.refused("DELETE", f"/action/{id}", status=404, code=400003)
        api.ask("DELETE", f"/contract/{contract}", status=201)
        api.ask("DELETE", f"/action/{id}", status=201)


@pytest.mark.parametrize("id", [0, 10**9, LARGEST_OF_PATH, "deleted"], ids=str)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_or_deleted_action_is_not_found(api, id, method):
    if id == "deleted":
        id = new_action(api)
        api.ask("DELETE", f"/action/{id}", status=201)
    api.refused(method, f"/action/{id}", REQUEST if method == "PUT" else None, status=404, code=400002)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/1"), ("PUT", "/1"), ("DELETE", "/1")]
)
def test_a_token_is_needed(api, method, path):
    api.refused(method, f"/action{path}", status=403, code=403002, headers={})


def test_one_that_was_encrypted_with_another_key_is_an_error_that_names_the_setting(api, caplog):
    id = new_action(api)
    with api.database.transaction() as connection:
        connection.execute(update(actions).values(request=b"of another key"))
    message = api.refused("GET", f"/action/{id}", status=500, code=500000)
    assert "encrypted with another EXTENSION_EVENTHOS_CRYPTO_KEY: add that one to the setting" in message
    assert "EXTENSION_EVENTHOS_CRYPTO_KEY" in caplog.text
