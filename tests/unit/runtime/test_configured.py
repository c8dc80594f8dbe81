"""Settings of an extension: declared with it, read when it is served, and the listeners that they decide."""

from dataclasses import dataclass, field

import pytest

from extension_kit import Extension, RegistrationError, SettingError
from extension_kit.protocol import EVENT_NAMES, NAMES, TEXT, EventProtocol, setting, whole_number
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.testing.agent import InMemoryAgent


@dataclass(frozen=True)
class OncallSettings:
    url: str = setting("EXTENSION_ONCALL_URL", "", TEXT, "Address.")
    token: str = setting("EXTENSION_ONCALL_TOKEN", "", TEXT, "Token.", secret=True)
    channels: tuple[str, ...] = setting("EXTENSION_ONCALL_CHANNELS", (), NAMES, "Channels.")
    events: tuple[str, ...] = setting("EXTENSION_ONCALL_EVENTS", ("killswitch.*",), EVENT_NAMES, "Events.")

    def __post_init__(self):
        if not self.url:
            raise SettingError("EXTENSION_ONCALL_URL is not set: write the address of the desk")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("EXTENSION_ONCALL_URL", "http://desk")
    return monkeypatch.setenv


@pytest.fixture
def extension():
    extension = Extension("extension-oncall", settings=OncallSettings)

    @extension.listen_to("experiment.execution.failed")
    def page():
        pass

    return extension


@pytest.fixture
def configured(extension):
    @extension.configure
    def add_channels(settings):
        for name in settings.channels:
            extension.listen_to(*settings.events, name=name, path=f"/events/{name}")(lambda event: None)

    return extension


def names(service):
    return [listener.name for listener in service.registry.listeners]


def serve(*extensions):
    return Service.of(extensions, Settings(), durable=False)


class TestReading:
    def test_they_are_read_when_they_are_used_and_anew_when_the_extension_is_served(self, extension, environment):
        environment("EXTENSION_ONCALL_URL", "")
        with pytest.raises(SettingError, match=r"^EXTENSION_ONCALL_URL is not set: write the address of the desk$"):
            assert extension.settings
        environment("EXTENSION_ONCALL_URL", "http://first")
        assert extension.settings is extension.settings
        environment("EXTENSION_ONCALL_URL", "http://second")
        assert extension.settings.url == "http://first"
        serve(extension)
        assert extension.settings.url == "http://second"

    def test_a_bad_value_ends_the_start(self, extension, environment):
        environment("EXTENSION_ONCALL_EVENTS", "killswitch.*,step-*")
        with pytest.raises(SettingError, match=r"^EXTENSION_ONCALL_EVENTS cannot be used: 'step-\*' is not an event n"):
            serve(extension)

    def test_an_error_in_the_class_names_it(self):
        @dataclass(frozen=True)
        class Broken(OncallSettings):
            def __post_init__(self):
                raise KeyError("no\ndesk")

        with pytest.raises(RegistrationError, match=r"^extension-broken: Broken: KeyError: 'no\\ndesk'$"):
            serve(Extension("extension-broken", settings=Broken))

    def test_an_extension_without_settings_says_so(self):
        plain = Extension("extension-plain")
        assert plain.settings_class is None
        with pytest.raises(RegistrationError, match=r"^extension-plain has no settings, which extension\.settings ne"):
            assert plain.settings
        with pytest.raises(RegistrationError, match=r"which extension\.configure needs"):
            plain.configure(lambda settings: None)

    def test_their_variables_are_known(self, extension, environment):
        environment("EXTENSION_ONCALL_CHANELS", "desk")
        service = serve(extension)
        assert "EXTENSION_ONCALL_TOKEN" in service.variables
        assert service.doubts() == [
            "EXTENSION_ONCALL_CHANELS is not a setting: did you mean EXTENSION_ONCALL_CHANNELS?"
        ]


class TestConfigure:
    def test_settings_decide_listeners(self, configured, environment):
        environment("EXTENSION_ONCALL_CHANNELS", "desk, tower")
        agent = InMemoryAgent(configured)
        assert agent.send("killswitch.engaged").ran == ["desk", "tower"]
        assert [listener.name for listener in configured.listeners] == ["page", "desk", "tower"]

    def test_each_time_it_begins_with_what_the_module_declares(self, configured, environment):
        environment("EXTENSION_ONCALL_CHANNELS", "desk,tower")
        served = serve(configured)
        environment("EXTENSION_ONCALL_CHANNELS", "tower")
        assert names(serve(configured)) == ["page", "tower"]
        assert names(served) == ["page", "desk", "tower"]
        configured.listen_to("*", name="late")(lambda event: None)
        assert names(serve(configured)) == ["page", "late", "tower"]

    def test_a_failure_leaves_what_the_module_declares(self, configured, environment):
        environment("EXTENSION_ONCALL_CHANNELS", "desk,page")
        with pytest.raises(RegistrationError, match=r"^page is registered twice at /events/page"):
            serve(configured)
        environment("EXTENSION_ONCALL_CHANNELS", "desk")
        assert names(serve(configured)) == ["page", "desk"]

    def test_it_may_refuse_a_setting(self, extension):
        @extension.configure
        def check(settings):
            raise SettingError("EXTENSION_ONCALL_CHANNELS names no desk")

        with pytest.raises(SettingError, match=r"^EXTENSION_ONCALL_CHANNELS names no desk$"):
            serve(extension)

    def test_another_exception_names_the_function_and_hides_secrets(self, extension):
        @extension.configure
        def connect(settings):
            raise OSError("cannot reach\nhttp://user:hush@desk")

        with pytest.raises(RegistrationError) as refused:
            serve(extension)
        place = "extension-oncall: connect of @extension.configure"
        assert str(refused.value) == f"{place}: OSError: cannot reach http://***@desk"

    def test_protocols_and_further_functions_belong_to_the_file(self, extension):
        @extension.configure
        def add(settings):
            extension.add_protocol(EventProtocol("croneye", OncallSettings, None))

        with pytest.raises(RegistrationError, match=r"^extension\.add_protocol is for the top level of the file"):
            serve(extension)
        assert extension.protocols == []

    @pytest.mark.parametrize("function", [None, "add"])
    def test_it_takes_a_function(self, extension, function):
        with pytest.raises(RegistrationError, match="takes a plain function"):
            extension.configure(function)

    def test_it_takes_no_async_function(self, extension):
        with pytest.raises(RegistrationError, match="takes a plain function"):

            @extension.configure
            async def add(settings):
                pass


def declare(variable, default="", kind=TEXT, **more):
    """A class with one setting."""

    @dataclass(frozen=True)
    class Declared:
        value: str = setting(variable, default, kind, "A value.", **more)

    return Declared


class TestDeclaration:
    @pytest.mark.parametrize(
        ("variable", "complaint"),
        [
            ("ONCALL_URL", r"is like EXTENSION_ONCALL_URL, not 'ONCALL_URL'$"),
            ("EXTENSION_oncall", r"is like EXTENSION_ONCALL_URL"),
            ("EXTENSION_", r"is like EXTENSION_ONCALL_URL"),
            ("EXTENSION_DATABASE_URL", r"is a setting of the kit itself: choose another name$"),
            ("EXTENSION_DATABASE_URL_FILE", r"is a setting of the kit itself"),
            ("EXTENSION_DELIVERY_CA_FILE", r"is a setting of the kit itself"),
        ],
    )
    def test_a_variable_has_a_name_of_its_own(self, variable, complaint):
        with pytest.raises(RegistrationError, match=complaint):
            Extension("extension-oncall", settings=declare(variable))

    def test_a_variable_is_declared_once(self):
        @dataclass(frozen=True)
        class Twice:
            one: str = setting("EXTENSION_ONCALL_URL", "", TEXT, "Address.")
            two: str = setting("EXTENSION_ONCALL_URL", "", TEXT, "Address.")

        with pytest.raises(RegistrationError, match=r"^Twice: EXTENSION_ONCALL_URL is declared twice$"):
            Extension("extension-oncall", settings=Twice)

    def test_every_field_is_a_setting(self):
        @dataclass(frozen=True)
        class Half:
            url: str = setting("EXTENSION_ONCALL_URL", "", TEXT, "Address.")
            channels: list = field(default_factory=list)

        with pytest.raises(RegistrationError, match=r"^Half\.channels is not declared as a setting: write channels: "):
            Extension("extension-oncall", settings=Half)

    @pytest.mark.parametrize("cls", [dataclass(type("Thawed", (), {})), str, OncallSettings("http://desk"), {}])
    def test_it_is_a_frozen_dataclass(self, cls):
        with pytest.raises(RegistrationError, match=r"^settings= takes a class with @dataclass\(frozen=True\)"):
            Extension("extension-oncall", settings=cls)

    @pytest.mark.parametrize(
        "other",
        [
            declare("EXTENSION_SHARED_SIZE", 4, whole_number(1, 9)),
            declare("EXTENSION_SHARED_SIZE", 3, whole_number(1, 8)),
            declare("EXTENSION_SHARED_SIZE", 3, whole_number(1, 9), secret=True),
        ],
    )
    def test_extensions_served_together_agree(self, other):
        first = Extension("extension-first", settings=declare("EXTENSION_SHARED_SIZE", 3, whole_number(1, 9)))
        second = Extension("extension-second", settings=other)
        with pytest.raises(
            RegistrationError,
            match=r"^EXTENSION_SHARED_SIZE is declared by extension-first and in another way by extension-second: ",
        ):
            serve(first, second)

    def test_extensions_may_share_a_setting(self):
        extensions = [
            Extension(name, settings=declare("EXTENSION_SHARED_SIZE", 3, whole_number(1, 9)))
            for name in ("extension-first", "extension-second")
        ]
        for extension in extensions:
            extension.extend_index({})
        assert serve(*extensions).variables == {"EXTENSION_SHARED_SIZE"}
