"""Work of a request: actions and events whose rendering would take hours, or more memory than there is, are errors."""

import pytest

from extensions.eventhos.expressions import Expression, ExpressionError
from extensions.eventhos.request_templates import RequestTemplate
from extensions.eventhos.templates import TemplateError, compile_value

ITEMS = {"body": {"items": [{"a": number} for number in range(50_000)], "text": "x" * 400_000}}


@pytest.fixture(autouse=True)
def _less_work(monkeypatch):
    """A twentieth of the limits, and of the time."""
    monkeypatch.setattr("extensions.eventhos.work._MOST_STEPS", 250_000)
    monkeypatch.setattr("extensions.eventhos.work._MOST_BYTES", 64 * 1024**2 // 20)


def rendered(body, event=ITEMS):
    return RequestTemplate("post", "http://erp.test/", {}, {}, body).render(event)


class TestTemplates:
    @pytest.mark.parametrize(
        "path",
        [
            "..zz",
            "..[?@.a==-1]",
            "..[" + ",".join(["?@.a==-1"] * 40) + "]",
            ".body.items[" + ",".join(["*"] * 90) + "].b",
            ".body.items[?count(@[*])>9999]",
        ],
    )
    def test_a_search_through_too_much_is_an_error(self, path):
        with pytest.raises(TemplateError, match=r"body\.a: the event is too large for the paths"):
            rendered({"a": f"${{{path}}}"})

    def test_many_small_searches_count_together(self):
        event = {"body": ITEMS["body"]["items"][:1000]}
        rendered(["${..zz}"], event)
        with pytest.raises(TemplateError, match="the event is too large for the paths"):
            rendered(["${..zz}"] * 1000, event)

    @pytest.mark.parametrize("template", ["${.body}", "x ${.body.text}", "${.body.text}"])
    def test_a_request_much_larger_than_its_event_is_an_error(self, template):
        rendered([template])
        with pytest.raises(TemplateError, match=r"the request would have more than 3355443 bytes of the event"):
            rendered([template] * 1000)

    @pytest.mark.parametrize("text", ["${", "${'", '${"', "${" + "x" * 4000], ids=["open", "single", "double", "long"])
    def test_texts_with_open_placeholders_are_read_at_once(self, text):
        template = text * 1000 + "x" * 4_000_000
        assert compile_value(template, "body")({}, "undefined") == template

    def test_a_placeholder_that_is_too_long_is_refused(self):
        with pytest.raises(TemplateError, match=r"body: a placeholder has at most 500 characters"):
            compile_value("${.body" + ".a" * 300 + "}", "body")


class TestExpressions:
    @pytest.mark.parametrize(
        "expression",
        [
            "body.n | " + " | ".join(["[@,@]"] * 200),
            "body.n | " + " | ".join(["[@,@][]"] * 200),
            "body.n | " + " | ".join(["{a:@,b:@}"] * 150),
            "body.text | " + " | ".join(["join('',[@,@])"] * 120),
            "body.text | " + " | ".join(["[@,@]"] * 40),
            "join(body.text, body.items[*].a.to_string(@))",
            "body.items | " + " | ".join(["[*]"] * 300),
            "body.items | " + " | ".join(["[::1]"] * 300),
            "body.items[*].a | " + " | ".join(["sort(@)"] * 200),
            "body.items | [" + ",".join(["to_string(@)"] * 130) + "]",
            "body.items | [" + ",".join(["@==[@]"] * 300) + "]",
            "body.items[?a==`-1`||a==`-2`||a==`-3`||a==`-4`]",
        ],
    )
    def test_one_that_needs_too_much_is_an_error(self, expression):
        with pytest.raises(ExpressionError, match=r"the event is too large|the request would have more than"):
            Expression(expression).find({"body": {"n": 1, **ITEMS["body"]}})

    def test_comparisons_in_comparisons_take_no_longer_than_others(self):
        expression = "(" * 100 + "body.n" + "==`1`)" * 100
        assert Expression(expression).find({"body": {"n": 1}}) is False

    @pytest.mark.parametrize(
        ("expression", "reason"),
        [
            ("body.text < `5`", "TypeError"),
            ("body.items[::0]", "ValueError"),
            ("body.zz.zz | keys(@)", r"keys\(\) takes no null"),
        ],
    )
    def test_values_that_do_not_suit_it_are_an_error(self, expression, reason):
        with pytest.raises(ExpressionError, match=rf"^{reason}$"):
            Expression(expression).find({"body": {"text": "secret", "items": [1]}})

    def test_one_of_usual_size_is_evaluated(self):
        items = {"body": {"items": ITEMS["body"]["items"][:2500]}}
        found = Expression("{n: length(body.items), all: body.items[?a > `10`].{b: a, c: to_string(a)}}").find(items)
        assert (found["n"], len(found["all"]), found["all"][0]) == (2500, 2489, {"b": 11, "c": "11"})
