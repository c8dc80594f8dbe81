"""Templates: what they print, what they may not reach, and that each comes to an end."""

import random
import threading
from datetime import UTC, datetime

import orjson
import pytest

from extension_kit import GiveUp
from extension_kit.agent.factory import EventFactory
from extension_kit.events.event import Event
from extension_kit.events.published import PublishedEvent
from extension_kit.protocol import SettingError
from extension_kit.templates import MAX_OUTPUT, MAX_TEMPLATE, Template
from extension_kit.templates.sandbox import Sandbox

FACTORY = EventFactory(seed=1)
STEP = FACTORY.event("experiment.execution.step-started", custom_label="Stop the database")


def event_of(**changes):
    return Event.from_body(FACTORY.event("experiment.execution.failed", **changes))


FAILED = event_of(name="Kill a pod", reason='a <b> & "c"\n', experiment_key="SHOP-7", execution_id=34)


def render(text, event=FAILED, **options):
    return Template.parse(text, name="EXTENSION_X_TEMPLATE").render(event, **options)


def refused(text, event=FAILED):
    with pytest.raises(GiveUp, match=r"^EXTENSION_X_TEMPLATE") as given_up:
        render(text, event)
    return str(given_up.value)


class TestOutput:
    @pytest.mark.parametrize(
        ("text", "output"),
        [
            ("{{ event.name }}", "experiment.execution.failed"),
            ("{{ event.subject }} {{ data.experimentExecution.experimentKey }}", "SHOP-7/34 SHOP-7"),
            ("{{ run.name }} {{ run.name | upper }} {{ run.name[:4] }}", "Kill a pod KILL A POD Kill"),
            ("{{ run.name ~ '!' }}{{ 1 + 2 * 3 % 4 }}{{ 'a' + 'b' }}", "Kill a pod!3ab"),
            ("{% if run.name == 'Kill a pod' %}yes{% endif %}{{ 'pod' in run.name }}", "yesTrue"),
            ("{% for x in [1, 2] %}{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}", "1, 2"),
            ("{% for key, value in {'a': 1} | dictsort %}{{ key }}={{ value }}{% endfor %}", "a=1"),
            ("{% set names = ['b', 'a'] | sort %}{{ names | join('+') }}", "a+b"),
            ("{% macro bold(x) %}*{{ x }}*{% endmacro %}{{ bold(run.name) }}", "*Kill a pod*"),
            ("{{ '%.1f' | format(3.14159) }} {{ 1700000000 | int }}", "3.1 1700000000"),
            ("{{ [3, 1] | map('string') | list | tojson }} {{ {'n': none} | tojson }}", '["3", "1"] {"n": null}'),
            ("{{ none }}|{{ step }}|{{ target }}", "||"),
            ("{{ data.nope | default('-') }}{{ data.nope is defined }}", "-False"),
            ("{{ 'Zürich 🎉' }}\n", "Zürich 🎉"),
            ("", ""),
        ],
    )
    def test_has_the_values_of_the_event(self, text, output):
        assert render(text) == output

    def test_values_are_printed_as_they_are(self):
        assert render("{{ run.reason }}") == 'a <b> & "c"\n'

    def test_values_may_be_escaped_for_html(self):
        text = "<p>{{ run.reason }}</p>{% set x %}<i>{{ run.reason }}</i>{% endset %}{{ x }}"
        escaped = "a &lt;b&gt; &amp; &#34;c&#34;\n"
        assert render(text, escape="html") == f"<p>{escaped}</p><i>{escaped}</i>"

    def test_values_may_be_escaped_for_json(self):
        text = (
            "{% macro m(x) %}<{{ x }}>{% endmacro %}"
            '{"reason": "{{ run.reason }}", "in": "{{ m(run.reason) }}", "all": {{ run | tojson }}, "n": {{ 3 }}}'
        )
        found = orjson.loads(render(text, escape="json"))
        assert found["reason"] == 'a <b> & "c"\n'
        assert found["in"] == '<a <b> & "c"\n>'
        assert (found["all"], found["n"]) == (FAILED.raw["experimentExecution"], 3)

    def test_tojson_prints_times_and_parts_of_the_event(self):
        found = orjson.loads(render("{{ {'time': event.time, 'team': event.team} | tojson }}"))
        assert found == {"time": FAILED.time.isoformat(), "team": FAILED.raw["team"]}

    def test_the_step_of_a_target_is_looked_up_only_by_those_who_print_it(self):
        asked = []

        def find_step(run, step_id):
            asked.append(step_id)
            return orjson.dumps(STEP)

        body = FACTORY.event("experiment.execution.target-started", step_execution_id="s")
        event = Event.from_body(body, find_step=find_step)
        assert render("{{ event.name }}", event) == "experiment.execution.target-started"
        assert asked == []
        assert render("{{ step.custom_label }} {{ target.step_execution_id }}", event) == "Stop the database s"
        assert asked == ["s"]

    def test_further_variables_are_declared_and_given(self):
        template = Template.parse("{{ run.name }}: {{ link }}", name="T", variables=["link"])
        assert template.render(FAILED, link="http://a.test/") == "Kill a pod: http://a.test/"
        with pytest.raises(GiveUp, match="T, line 1: 'link' is undefined"):
            template.render(FAILED)

    def test_events_of_other_protocols_have_no_run(self):
        event = PublishedEvent.of(
            source="croneye", id="1", name="croneye.late", body=b'{"a": 1}', time=datetime.now(UTC), subject=None,
            series=None, deadline=None,
        )  # fmt: skip
        assert render("{{ event.name }} {{ data.a }}{{ run }}", event) == "croneye.late 1"

    def test_a_template_is_used_by_threads_at_the_same_time(self):
        template = Template.parse("{% for x in range(500) %}{{ event.id }}{% endfor %}", name="T")
        events = [event_of() for _ in range(8)]
        found = {}
        threads = [
            threading.Thread(target=lambda event=event: found.update({event.id: template.render(event)}))
            for event in events
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {event.id: event.id * 500 for event in events}


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a\n{% if %}", "is not a template: line 2: Expected an expression"),
            ("{{ a", "is not a template: line 1: unexpected end"),
            ("{% for x in [] %}", "line 1: Unexpected end of template"),
            ("\n\n{{ 1 | nope }}", "line 3: No filter named 'nope'"),
            ("{{ 1 is nope }}", "No test named 'nope'"),
            ("{{ naem }}", "uses naem: the variables of a template are event, data, run, step, target"),
            ("{{ lipsum() }}{{ namespace() }}", "uses lipsum, namespace: "),
            ("{% include 'a' %}", "{% include %} is not available"),
            ("{% import 'a' as a %}", "{% import %} is not available"),
            ("{% from 'a' import b %}", "{% from %} is not available"),
            ("{% extends 'a' %}", "{% extends %} is not available"),
            ("{% block a %}{% endblock %}", "{% block %} is not available"),
            ("{% for x in [] recursive %}{{ loop(x) }}{% endfor %}", "recursive loops are not available"),
            ("{{ " + "(" * 100_000 + " }}", "nested too deeply"),
            ("{% if 1 %}" * 2000 + "{% endif %}" * 2000, "nested too deeply"),
            ("{{" + "-" * 30_000 + "1 }}", "nested too deeply"),
            ("a" * (MAX_TEMPLATE + 1), f"is longer than {MAX_TEMPLATE} characters"),
        ],
    )
    def test_what_is_no_template_is_refused_with_its_line(self, text, message):
        with pytest.raises(SettingError, match=r"^EXTENSION_X_TEMPLATE ") as refused:
            Template.parse(text, name="EXTENSION_X_TEMPLATE")
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_nothing_is_computed_when_a_template_is_parsed(self):
        Template.parse("{{ 'x' | center(1000000000) }}{{ 2 ** 1000000000 }}{{ 1 / 0 }}", name="T")


class TestFailures:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("\n{{ run.nope }}", "EXTENSION_X_TEMPLATE, line 2: "),
            ("{{ data.nope }}", "has no attribute 'nope'"),
            ("{{ data.nope.more }}", "has no attribute 'nope'"),
            ("{{ target.step_execution_id }}", "has no attribute"),
            ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
            ("{{ 'a' + 1 }}", "TypeError: "),
            ("{% for x in 5 %}{% endfor %}", "TypeError: "),
            ("{{ range | tojson }}", "TypeError: "),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError: "),
        ],
    )
    def test_an_event_that_cannot_be_printed_is_given_up_with_the_reason(self, text, message):
        assert message in refused(text)

    def test_a_long_output_is_given_up(self):
        assert f"longer than {MAX_OUTPUT} bytes" in refused("{% for x in range(20) %}" + "a" * 60_000 + "{% endfor %}")
        assert len(render("{% for x in range(17) %}" + "a" * 60_000 + "{% endfor %}")) == 17 * 60_000
        text = "{% for x in range(30) %}" + "ä" * 20_000 + "{% endfor %}"
        assert "longer than" in refused(text)  # bytes count


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ ['__class__'] | map('attr', '__class__') | list }}",
    "{{ [''] | map(attribute='__class__') | list | join }}",
    "{{ [''] | groupby('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__.__mro__}'.format_map({'0': 1}) }}",
    "{{ event.__init__ }}",
    "{{ event._data }}",
    "{{ event.from_body('{}') }}",
    "{{ event.__class__.from_body }}",
    "{{ run.__class__.__base__.__subclasses__() }}",
    "{{ range.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ [].append(1) }}",
    "{{ data.update({'a': 1}) }}",
    "{{ data.pop('id') }}",
    "{% set event.x = 1 %}",
    "{{ (event.time).__reduce__() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner }}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ event.body.decode() }}",
]

ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for a in range(10 ** 9) %}{% endfor %}",
    "{% for a in range(1000000000) %}{% endfor %}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 'x' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ ('x' | center(9999)) | center(999999999) }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ 'x'.zfill(1000000000) }}",
    "{{ '\t'.expandtabs(1000000000) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%*d' | format(1000000000, 1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ 'x' | indent(1000000000, true) }}",
    "{{ [1] | batch(1000000000, 1) | list }}",
    "{{ [1] | slice(1000000000) | list }}",
    "{{ 5 | round(-1000000000) }}",
    "{{ range(99999) | join('x' | center(9999)) }}",
    "{{ ('x' | center(99999)) | replace(' ', 'x' | center(9999)) }}",
    "{{ [[1], [2]] | sum(start=[]) }}",
    "{{ [1] | tojson(indent=1000000000) }}",
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = (a, a) %}" * 60 + "{{ a | string }}",
    "{% set a = [1] %}" + "{% set a = {'x': a, 'y': a} %}" * 60 + "{{ a | tojson }}",
    "{% set a = [1] %}" + "{% set a = a + a %}" * 60 + "{{ a | length }}",
    "{% set a = 7 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
    "{% set a %}x{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m(n) %}{% if n %}{% call m(n - 1) %}{% endcall %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% set r = range(99999) | list %}{% for a in r %}{{ a in r }}{% endfor %}",
    "{% set r = range(99999) | list %}{{ r | select('in', r) | list | length }}",
    "{% set r = range(99999) | list %}{% for a in range(9999) %}{% if r == r[:] %}{% endif %}{% endfor %}",
    "{% set r = range(9999) | list %}{% for a in r %}{{ r | sort | length }}{% endfor %}",
    "{% for a in range(99999) %}{% if event.raw %}{% endif %}{% endfor %}",
    "{% set x %}{% for a in range(99999) %}" + "y" * 60_000 + "{% endfor %}{% endset %}",
    "{% filter upper %}{% for a in range(99999) %}" + "y" * 60_000 + "{% endfor %}{% endfilter %}",
]


class TestSandbox:
    @pytest.mark.parametrize("text", ESCAPES)
    def test_nothing_else_is_reached(self, text):
        try:
            output = render(text)
        except (GiveUp, SettingError):
            return
        assert output in ("", "[Undefined]", "[(Undefined, [''])]"), output

    @pytest.mark.parametrize("text", ENDLESS, ids=[text[:60] for text in ENDLESS])
    @pytest.mark.timeout(30)
    def test_every_template_ends_soon(self, text):
        assert refused(text)

    def test_the_largest_event_can_be_printed(self):
        data = FAILED.raw | {"more": [{"key": "value" * 20, "n": n} for n in range(4000)]}
        event = Event.from_body(data)
        assert orjson.loads(render("{{ data | tojson }}", event)) == data

    @pytest.mark.timeout(60)
    def test_random_templates_end_in_a_text_or_in_a_reason(self):
        seed = random.SystemRandom().randrange(2**32)
        chance = random.Random(seed)
        names = sorted(Sandbox(None).filters)
        values = [
            "event",
            "data",
            "run.name",
            "event.team",
            "'x' * 9",
            "range(999)",
            "[1, 'a', none]",
            "{'a': 1}",
            "7",
            "x",
        ]
        for _ in range(150):
            text = "{% set x = 'abc' %}"
            for _ in range(chance.randrange(1, 6)):
                made = chance.choice(values)
                for _ in range(chance.randrange(4)):
                    given = ", ".join(chance.choices(values, k=chance.randrange(3)))
                    made = f"({made}) | {chance.choice(names)}({given})"
                text += (
                    chance.choice(
                        [
                            "{%% set x = %s %%}",
                            "{{ %s }}",
                            "{%% for x in %s %%}{{ x }}{%% endfor %%}",
                            "{%% if %s == x %%}a{%% endif %%}",
                        ]
                    )
                    % made
                )
            try:
                assert len(render(text)) <= MAX_OUTPUT
            except (GiveUp, SettingError) as error:
                assert str(error).startswith("EXTENSION_X_TEMPLATE"), f"seed {seed}: {text}"  # noqa: PT017
