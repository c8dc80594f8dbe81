import pytest

from extension_kit import Extension


@pytest.fixture
def extension():
    return Extension("extension-test")
