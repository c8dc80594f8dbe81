import pytest

from extension_kit import Extension, RegistrationError
from extension_kit.protocol import EventProtocol


@pytest.mark.parametrize("name", ["", "  ", None, 5])
def test_an_extension_needs_a_name(name):
    with pytest.raises(RegistrationError, match="needs a name"):
        Extension(name)


def test_forgotten_parentheses_are_explained():
    extension = Extension("extension-test")
    with pytest.raises(RegistrationError, match="names of events"):

        @extension.listen_to
        def page(event):
            pass


def test_the_names_of_the_release_before_still_work_and_warn():
    extension = Extension("extension-test")
    with pytest.warns(DeprecationWarning, match=r"extension\.extend_index"):
        extension.index({"actions": []})
    with pytest.warns(DeprecationWarning, match=r"extension\.add_protocol"):
        extension.speak(EventProtocol("croneye", object, None, names=("croneye.*",)))
    assert len(extension.registry.providers) == len(extension.protocols) == 1
