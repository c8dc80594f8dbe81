"""The declarations of event protocols, and the names that they had in the release before."""

from dataclasses import dataclass

import pytest

from extension_kit import protocol
from extension_kit.errors import RenamedWarning
from extension_kit.protocol import TEXT, DeliveryFormat, EventProtocol, Kit, Message, setting
from extension_kit.runtime.contract import BoundProtocol


@dataclass(frozen=True)
class EchoSettings:
    word: str = setting("EXTENSION_ECHO_WORD", "hi", TEXT, "A word.")


def bind(**more):
    return BoundProtocol.read(EventProtocol("echo", EchoSettings, lambda kit, settings: (kit, settings), **more))


class TestBoundProtocol:
    def test_its_parts_get_the_settings_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("EXTENSION_ECHO_WORD", "ho")
        bound = bind(delivery_format=lambda kit, settings: settings)
        assert bound.source == "echo"
        assert bound.settings == bound.make_delivery_format("kit") == EchoSettings(word="ho")
        assert bound.make_routes("kit") == ("kit", EchoSettings(word="ho"))

    def test_without_subscriptions_it_has_no_delivery_format(self):
        assert bind().make_delivery_format("kit") is None


class TestFormerNames:
    @pytest.mark.parametrize(("former", "now", "found"), [("Host", "Kit", Kit), ("Manner", "DeliveryFormat", None)])
    def test_a_name_of_the_module_still_works_and_warns(self, former, now, found):
        with pytest.warns(RenamedWarning, match=rf"^extension_kit\.protocol\.{former} is called {now} now$") as warned:
            got = getattr(protocol, former)
        assert warned[0].filename == __file__
        assert found in (None, got)

    def test_a_manner_is_a_delivery_format(self):
        def envelope(due, subscription):
            return Message("1", b"")

        with pytest.warns(RenamedWarning):
            made = [protocol.Manner(envelope, [1.0]), protocol.Manner(envelope=envelope, retry=[1.0])]
        assert made == [DeliveryFormat(envelope, [1.0])] * 2

    def test_the_argument_manner_still_works_and_warns(self):
        form = DeliveryFormat(lambda due, subscription: Message("1", b""))

        def make(settings):
            assert settings == "settings"
            return form

        with pytest.warns(RenamedWarning, match=r"^EventProtocol\(manner=") as warned:
            declared = EventProtocol("echo", EchoSettings, lambda kit, settings: None, manner=make)
        assert declared.delivery_format("kit", "settings") is form
        assert warned[0].filename == __file__

    def test_other_names_are_not_there(self):
        with pytest.raises(AttributeError, match="has no attribute 'Guest'"):
            protocol.Guest  # noqa: B018
