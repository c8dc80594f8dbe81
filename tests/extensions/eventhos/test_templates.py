"""Templates: placeholders in bodies, headers, parameters and URLs, and what a path may be."""

import json

import pytest

from extensions.eventhos.paths import MISSING, Path
from extensions.eventhos.request_templates import RequestTemplate
from extensions.eventhos.templates import TemplateError

EVENT = {
    "headers": {"x-trace": "T1", "test": "1"},
    "query": {"extra": "e&f", "event-identifier": "new-bomb"},
    "url": "/event/send",
    "body": {
        "name": "Morpheush",
        "n": 7,
        "yes": True,
        "nothing": None,
        "list": ["L0", {"id": "L1"}],
        "obj": {"in-ner": 1, "deep": {"q": 5}, "3d-x": [{"c-d": 2}], "a\u00f1o-mes": 3, "-a--b": 4},
        "sp ace": "s",
        "test-two": {"a": 1},
        "unsafe": "a/b ?#ü",
        "patterns": "$& $1 $$",
        "lines": "a\r\nX-Evil: 1",
        "empty": "",
    },
    "oauthResponse": {"headers": {}, "body": {"content": {"access_token": "token_021"}}},
}


def rendered(body=None, *, missing="undefined", event=EVENT, url="http://erp.test/", headers=None, params=None):
    return RequestTemplate("post", url, headers or {}, params or {}, body).render(event, missing)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "found"),
        [
            (".body.name", "Morpheush"),
            (".query.extra", "e&f"),
            (".query.event-identifier", "new-bomb"),
            (".headers.x-trace", "T1"),
            (".oauthResponse.body.content.access_token", "token_021"),
            (".url", "/event/send"),
            (".body.list[0]", "L0"),
            (".body.list[-1].id", "L1"),
            (".body.list[9]", MISSING),
            (".body.list.id", MISSING),
            (".body.name[0]", MISSING),
            (".body.name.length", MISSING),
            (".body.nothing.more", MISSING),
            ("..q", 5),
            ("..nowhere", MISSING),
            (".body.list[*].id", "L1"),
            ('.body.list[?(@=="L0")]', "L0"),
            (".body.list[?@.id=='L1'].id", "L1"),
            (".body.list[?length(@)==2]", "L0"),
            ("['body']['sp ace']", "s"),
            (".body['obj']['in-ner']", 1),
            (".body.obj.in-ner", 1),
            (".body.obj.3d-x[0].c-d", 2),
            (".body.obj.a\u00f1o-mes", 3),
            (".body.obj.-a--b", 4),
            ("..in-ner", 1),
            (".body.list[?@['a-b']==1]", MISSING),
            (".body.nothing", None),
            (".body.zz", MISSING),
            ("", EVENT),
        ],
    )
    def test_the_first_match_is_found(self, path, found):
        assert Path(path).find(EVENT) == found

    def test_of_several_matches_the_first_is_that_of_the_outermost_object_and_of_the_first_item(self):
        event = {"list": [{"n": 1}, {"n": 2}], "obj": {"n": 3}}
        assert [Path(path).find(event) for path in ("..n", ".list[?@.n>0].n", ".list[1:].n")] == [1, 1, 2]
        assert Path("..n").find({**event, "n": 4}) == 4

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            (".body.list[(@.length-1)]", "no JSONPath"),
            ("body.name", "no JSONPath"),
            (".", "no JSONPath"),
            (" .body.name ", "no JSONPath"),
            (".body[", "no JSONPath"),
            (".body.list[?(@.a", "no JSONPath"),
            (".body[?search(@, '(a+)+b')]", "'search' is not defined"),
            (".body[?match(@, 'a')]", "'match' is not defined"),
            ("..a..b", "at most one '..'"),
            ("..*..*..*", "at most one '..'"),
            (".body[?@..a]", "a filter has no '..'"),
            (".body[?$..a]", "a filter has no '..'"),
            (".body[?$.*]", "single names and indexes"),
            (".body[?!@[?@.a]]", "no filter in it"),
            (".body[?length(@[?@.a][0])>1 && @.b]", "no JSONPath"),
            ("[0,1,2,3,4,5,6,7,8,9,10][0,1,2,3,4,5,6,7,8,9]", "at most 100 alternatives"),
            ("." + "a" * 500, "at most 500 characters"),
            ("[" * 400, "no JSONPath"),
            (".body" + "[?(" * 160, "no JSONPath"),
        ],
    )
    def test_others_are_refused(self, path, reason):
        with pytest.raises(ValueError, match=r".") as raised:
            Path(path)
        assert reason in str(raised.value)

    def test_an_event_that_is_nested_too_deep_for_a_search_is_an_error(self):
        deep = json.loads("[" * 900 + "]" * 900)
        with pytest.raises(TemplateError, match=r"body\.a: recursion limit"):
            rendered({"a": "${..zz}"}, event={"body": deep})


class TestBodies:
    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            ({"a": "plain"}, {"a": "plain"}),
            ({"a": "${.body.n}"}, {"a": 7}),
            ({"a": "${.body.yes}"}, {"a": True}),
            ({"a": "${.body.nothing}"}, {"a": None}),
            ({"a": "${.body.list}"}, {"a": EVENT["body"]["list"]}),
            ({"a": "${.body.test-two}"}, {"a": {"a": 1}}),
            ({"a": "${.headers.test}"}, {"a": "1"}),
            ({"a": "${}"}, {"a": EVENT}),
            ({"a": "${.body.empty}"}, {"a": ""}),
            ({"a": "${.body.zz}", "b": 1}, {"b": 1}),
            ({"a": {"b": {"c": "${.body.n}"}}}, {"a": {"b": {"c": 7}}}),
            ({"a": ["x", "${.body.n}", ["${.body.name}"]]}, {"a": ["x", 7, ["Morpheush"]]}),
            ({"a": ["${.body.zz}", 1]}, {"a": [None, 1]}),
            ({"a": "n=${.body.n}"}, {"a": "n=7"}),
            ({"a": "${.body.name}-${.body.n}"}, {"a": "Morpheush-7"}),
            ({"a": "${.body.n}${.body.n}${.body.n}"}, {"a": "777"}),
            ({"a": "x ${.body.test-two}"}, {"a": 'x {"a":1}'}),
            ({"a": "x ${.body.zz}"}, {"a": "x undefined"}),
            ({"a": "x ${.body.nothing}"}, {"a": "x null"}),
            ({"a": "x ${.body.yes}"}, {"a": "x true"}),
            ({"a": "x ${.body.list}"}, {"a": 'x ["L0",{"id":"L1"}]'}),
            ({"a": "x ${.body.patterns}"}, {"a": "x $& $1 $$"}),
            ({"a": "${.body.n"}, {"a": "${.body.n"}),
            ({"a": "$ {.body.n} $$"}, {"a": "$ {.body.n} $$"}),
            ({"${.body.name}": 1}, {"${.body.name}": 1}),
            ({"a": 1.5, "b": None, "c": False}, {"a": 1.5, "b": None, "c": False}),
            ([1, "${.body.n}"], [1, 7]),
            ("${.body.list[1]}", {"id": "L1"}),
            ({"a": "${.body['sp ace']}"}, {"a": "s"}),
        ],
    )
    def test_placeholders_keep_types_and_texts_are_mixed(self, template, expected):
        assert rendered(template).body == expected

    @pytest.mark.parametrize("template", [None, {}], ids=["none", "empty"])
    @pytest.mark.parametrize("body", [{"a": 1}, [1, 2], "text", 7, None], ids=repr)
    def test_without_one_the_body_of_the_event_is_passed_on(self, template, body):
        assert rendered(template, event={"body": body}).body == body

    def test_what_was_inserted_is_not_rendered_again(self):
        assert rendered({"a": "x ${.body}"}, event={"body": "${.url}", "url": "secret"}).body == {"a": "x ${.url}"}

    def test_the_template_is_not_changed(self):
        template = {"a": ["${.body.n}", {"b": "${.body.zz}"}]}
        before = json.dumps(template)
        rendered(template)
        assert json.dumps(template) == before

    def test_one_that_is_nested_too_deep_is_refused(self):
        with pytest.raises(TemplateError, match="nested more than 100 deep"):
            rendered(json.loads("[" * 150 + "]" * 150))


class TestMissingValues:
    def test_they_are_undefined_as_upstream_has_them(self):
        pair = {"x": "${.body.zz}"}
        made = rendered({"a": "${.body.zz}"}, url="http://erp.test/${.body.zz}", headers=pair, params=pair)
        assert (made.url, made.headers, made.body) == ("http://erp.test/undefined?x=undefined", {"x": "undefined"}, {})

    def test_they_may_be_empty(self):
        made = rendered({"a": "${.body.zz}"}, missing="empty", headers={"X": "a${.body.zz}"})
        assert (made.headers, made.body) == ({"X": "a"}, {"a": ""})

    @pytest.mark.parametrize(
        ("parts", "place"),
        [
            ({"body": {"a": [{"b": "${.body.zz}"}]}}, "body.a[0].b"),
            ({"body": {"a": "x${.body.zz}"}}, "body.a"),
            ({"headers": {"X": "${.body.zz}"}}, "headers.X"),
            ({"params": {"p": "${.body.zz}"}}, "params.p"),
            ({"url": "http://erp.test/${.body.zz}"}, "url"),
        ],
    )
    def test_they_may_be_an_error_that_names_the_place(self, parts, place):
        with pytest.raises(TemplateError, match="the event has no such value") as raised:
            rendered(missing="error", **parts)
        assert raised.value.place == place


class TestHeadersAndParameters:
    def test_values_are_texts(self):
        headers = {
            "X-Number": "${.body.n}",
            "X-Object": "${.body.test-two}",
            "X-Null": "${.body.nothing}",
            "X-Mixed": "a ${.headers.x-trace}",
            "X-Open": "a ${.body.n",
        }
        assert rendered(headers=headers).headers == {
            "X-Number": "7",
            "X-Object": '{"a":1}',
            "X-Null": "null",
            "X-Mixed": "a T1",
            "X-Open": "a ${.body.n",
        }

    def test_a_line_break_from_an_event_is_an_error(self):
        with pytest.raises(TemplateError, match=r"headers\.X: the value of the event has a line break"):
            rendered(headers={"X": "${.body.lines}"})

    def test_parameters_are_added_to_the_query(self):
        made = rendered(url="http://erp.test/a?b=1", params={"p q": "${.query.extra}", "r": "${.body.list}"})
        assert made.url == "http://erp.test/a?b=1&p%20q=e%26f&r=%5B%22L0%22%2C%7B%22id%22%3A%22L1%22%7D%5D"


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://erp.test", "http://erp.test/"),
            ("http://erp.test/a", "http://erp.test/a"),
            ("https://erp.test:8443/${.body.n}", "https://erp.test:8443/7"),
            ("http://erp.test/a/${.body.n}/b-${.body.name}.json", "http://erp.test/a/7/b-Morpheush.json"),
            ("http://erp.test/${.body.unsafe}", "http://erp.test/a%2Fb%20%3F%23%C3%BC"),
            ("http://erp.test/a?x=${.query.extra}&y=1#part", "http://erp.test/a?x=e%26f&y=1"),
            ("http://erp.test?x=${.body.n}", "http://erp.test/?x=7"),
            ("http://erp.test/${['body']['a?b#c']}", "http://erp.test/undefined"),
        ],
    )
    def test_values_are_encoded_in_path_and_query(self, url, expected):
        assert rendered(url=url).url == expected

    @pytest.mark.parametrize("value", [".", "..", "%2e.", "%2E%2e"])
    @pytest.mark.parametrize("url", ["http://erp.test/a/${.body}", "http://erp.test/a/${.body}/delete?x=1"])
    def test_a_value_cannot_lead_to_another_path(self, url, value):
        if "%" in value:
            assert "/a/%25" in rendered(url=url, event={"body": value}).url
            return
        with pytest.raises(TemplateError, match=r"url: a part of the path would be '\.' or '\.\.'"):
            rendered(url=url, event={"body": value})

    @pytest.mark.parametrize("url", ["http://erp.test/a/.${.body}/b", "http://erp.test/a/%2e${.body}"])
    def test_nor_a_value_beside_a_dot(self, url):
        with pytest.raises(TemplateError, match=r"url: a part of the path would be"):
            rendered(url=url, event={"body": "."})

    @pytest.mark.parametrize("missing", ["undefined", "omit", "empty", "error"])
    @pytest.mark.parametrize("url", ["${.body.empty}", "p/${.body.empty}/q", "p/${.body.empty}${.body['empty']}?x=1"])
    def test_an_empty_value_cannot_be_a_part_of_the_path(self, url, missing):
        with pytest.raises(TemplateError, match=r"url: a part of the path would be empty"):
            rendered(url=f"http://erp.test/{url}", missing=missing)

    def test_nor_can_a_missing_one_that_is_empty_or_left_out(self):
        for missing, reason in (("empty", "would be empty"), ("omit", "has no such value")):
            with pytest.raises(TemplateError, match=reason):
                rendered(url="http://erp.test/p/${.body.zz}/q", missing=missing)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://erp.test/a${.body.empty}//", "http://erp.test/a//"),
            ("http://erp.test//${['body']['a/b']}/b", "http://erp.test//undefined/b"),
            ("http://erp.test/?x=${.body.empty}", "http://erp.test/?x="),
        ],
    )
    def test_it_may_be_beside_other_text_and_in_the_query(self, url, expected):
        assert rendered(url=url).url == expected

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://${.body.host}/", "scheme and host have no placeholders"),
            ("${.body.scheme}://erp.test/", "scheme and host have no placeholders"),
            ("http://erp.test:${.body.port}/", "scheme and host have no placeholders"),
            ("http://erp${.body.x}", "scheme and host have no placeholders"),
            ("${.body.url}", "scheme and host have no placeholders"),
            ("http://user:pw@erp.test/", "belongs into a header that is secret"),
            ("ftp://erp.test/", "write http://HOST"),
            ("http:///a", "write http://HOST"),
            ("erp.test/a", "write http://HOST"),
            ("", "write http://HOST"),
            ("http://erp.test:99999/", "write http://HOST"),
            ("http://[::1/", "write http://HOST"),
            ("http://erp.test/${body}", "no JSONPath"),
        ],
    )
    def test_others_are_refused(self, url, reason):
        with pytest.raises(TemplateError, match=r"^url: ") as raised:
            RequestTemplate("GET", url, {}, {})
        assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"headers": {"X-Id": "${.}"}}, "headers.X-Id"),
        ({"params": {"p": "${body}"}}, "params.p"),
        ({"body": {"items": [{"a": "x ${..a..b}"}]}}, "body.items[0].a"),
    ],
)
def test_a_bad_path_is_refused_with_its_place(parts, place):
    with pytest.raises(TemplateError) as raised:
        rendered(**parts)
    assert raised.value.place == place
