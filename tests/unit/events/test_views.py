"""Views are read-only, compared by content, and documented for people and their editors."""

import inspect
import pydoc
import re

import pytest

from extension_kit import Event
from extension_kit.events.views import View
from tests.support.events import BODY, event


@pytest.mark.parametrize("attribute", ["name", "raw", "tenant", "_data", "new"])
def test_events_are_read_only(attribute):
    it = event()
    with pytest.raises(AttributeError, match="read-only"):
        setattr(it, attribute, 1)
    with pytest.raises(AttributeError, match="read-only"):
        delattr(it, attribute)
    with pytest.raises(AttributeError, match="read-only"):
        setattr(it.tenant, attribute, 1)


def test_changing_what_was_handed_out_changes_nothing():
    it = event()
    it.raw["id"] = "changed"
    it.experiment_execution.raw["name"] = "changed"
    it.experiment_execution.variables["many"].append("3")
    assert it.raw == BODY
    assert it.experiment_execution.variables["many"] == ["1", "2"]


def test_events_and_views_are_compared_by_content():
    assert event() == event()
    assert event() != event(id="other")
    assert event().team == event().team
    assert event().team != event().tenant


def views(kind=View):
    """The kit's own; extensions that other tests have loaded have views, too."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith("extension_kit.")]
    return [kind, *(view for child in children for view in views(child))]


ATTRIBUTES = [(view, name) for view in views() for name in vars(view) if not name.startswith("_")]


@pytest.mark.parametrize(
    ("view", "name"),
    [(view, name) for view, name in ATTRIBUTES if isinstance(inspect.getattr_static(view, name), property)],
    ids=lambda it: it if isinstance(it, str) else it.__name__,
)
def test_an_attribute_has_a_type_and_a_sentence(view, name):
    attribute = getattr(view, name)
    assert "return" in attribute.fget.__annotations__
    kind, _, text = inspect.getdoc(attribute).partition(": ")
    assert re.fullmatch(r"(\w+|\w+\[[\w\[\], .]+\])( \| \w+)*", kind)
    assert re.match(r"[A-Z`].*\.$", " ".join(text.partition("\n\n")[0].splitlines()))


def test_every_attribute_is_such_a_property_or_makes_an_event():
    others = {name for view, name in ATTRIBUTES if not isinstance(inspect.getattr_static(view, name), property)}
    assert others == {"from_body", "of"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("name", "str | Any: The event name, such as"),
        ("time", "datetime | None: The time of the event"),
        ("tenant", "Tenant | Any: The tenant of the event."),
        ("principal", "Principal | None: The user, API token or platform job"),
        ("raw", "dict[str, Any]: The body"),
        ("remaining_time", "float | None: Seconds until"),
        ("is_step", "bool: True for an event of a step"),
    ],
)
def test_the_help_on_an_event_has_types_and_sentences(name, line):
    page = pydoc.plain(pydoc.render_doc(Event))
    assert re.search(rf"^ \|  {name}\n \|      {re.escape(line)}", page, re.MULTILINE)


def test_views_of_extensions_are_documented_in_the_same_way():
    class Door(Event):
        @property
        def rings(self) -> "int":
            """The number of rings."""
            return 1

        @property
        def open(self) -> list[View]:
            return []

        @property
        def untyped(self):
            """A value."""

    assert Door.rings.__doc__ == "int: The number of rings."
    assert Door.open.__doc__ is None
    assert Door.untyped.__doc__ == "Any: A value."
