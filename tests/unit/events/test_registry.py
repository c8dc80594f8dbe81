"""Listeners that go together, in one extension and in several."""

import functools

import pytest

from extension_kit import Extension, RegistrationError
from extension_kit.events.registration_document import list_event_listeners
from extension_kit.events.registry import Registry


def nothing():
    pass


def two_pages():
    """Two functions that are called the same, as in one file."""

    def page(event):
        """Page about failures."""

    failed = page

    def page(event):
        """Page about successes."""

    return failed, page


class Pager:
    def page(self, event):
        pass


def test_one_function_twice_on_a_path_is_refused(extension):
    extension.listen_to("killswitch.engaged")(nothing)
    with pytest.raises(RegistrationError, match="give all event names to one listen_to"):
        extension.listen_to("killswitch.disengaged")(nothing)
    extension.listen_to("killswitch.disengaged", path="/events/elsewhere")(nothing)


ALIKE = {
    "two functions of one name": (two_pages(), "page"),
    "closures from a loop": ([two_pages()[0] for _ in range(2)], "page"),
    "methods of two objects": ((Pager().page, Pager().page), "page"),
    "lambdas": ([lambda event: None for _ in range(2)], "<lambda>"),
    "partials": ([functools.partial(nothing) for _ in range(2)], "partial"),
}


class TestFunctionsThatLookAlike:
    """Deliveries are kept by name, so that a name stands for one function."""

    @pytest.mark.parametrize(("functions", "name"), ALIKE.values(), ids=ALIKE)
    def test_they_are_refused_with_the_line_to_write_instead(self, extension, functions, name):
        first, second = functions
        extension.listen_to("experiment.execution.failed", path="/events/x")(first)
        with pytest.raises(RegistrationError) as caught:
            extension.listen_to("experiment.execution.completed", path="/events/x")(second)
        assert str(caught.value).startswith(f"{name} is registered twice at /events/x: ")
        line = str(caught.value).rpartition(": ")[2].removeprefix("@")
        eval(line, {"extension": extension})(second)
        names = [listener.name for listener in extension.listeners]
        assert names == [name, f"{name.strip('<>')}-completed"]
        assert len({listener.key for listener in extension.listeners}) == 2

    def test_a_path_is_written_where_it_is_not_that_of_the_name(self, extension):
        first, second = two_pages()
        extension.listen_to("user.invited")(first)
        with pytest.raises(RegistrationError, match=r"listen_to\('killswitch.\*', 'a.b', name='page-2'\)$"):
            extension.listen_to("killswitch.*", "a.b")(second)
        extension.listen_to("killswitch.*", "a.b", name="page-2")(second)
        assert [listener.path for listener in extension.listeners] == ["/events/page", "/events/page-2"]

    def test_in_two_extensions_they_are_two(self):
        one, other = Extension("one"), Extension("other")
        for each, function in zip((one, other), two_pages(), strict=True):
            each.listen_to("killswitch.engaged")(function)
        merged = Registry.merged([one.registry, other.registry])
        assert [listener.key for listener in merged.listeners] == ["one.page@/events/page", "other.page@/events/page"]

    def test_extensions_whose_names_run_together_are_refused(self):
        one, other = Extension("a"), Extension("a.b")
        one.listen_to("killswitch.engaged", path="/events", name="b.c")(nothing)
        other.listen_to("killswitch.engaged", path="/events", name="c")(nothing)
        with pytest.raises(RegistrationError, match="registered twice at /events"):
            Registry.merged([one.registry, other.registry])


def test_one_path_with_two_restrictions_is_refused(extension):
    extension.listen_to("killswitch.engaged", path="/events")(nothing)
    with pytest.raises(RegistrationError, match="other and nothing share /events"):

        @extension.listen_to("killswitch.disengaged", path="/events", restrict_to="any")
        def other(event):
            pass

    assert len(extension.listeners) == 1


def test_registries_are_merged_and_checked_against_each_other():
    one, other, third = Extension("one"), Extension("other"), Extension("third")
    one.listen_to("killswitch.engaged", path="/events")(nothing)
    other.listen_to("killswitch.disengaged", path="/events")(lambda: None)
    third.listen_to("*", path="/events", restrict_to="any")(lambda: None)
    merged = Registry.merged([one.registry, other.registry])
    assert list_event_listeners(merged)[0]["listenTo"] == ["killswitch.engaged", "killswitch.disengaged"]
    assert len(one.listeners) == 1
    with pytest.raises(RegistrationError, match="share /events"):
        Registry.merged([one.registry, third.registry])
