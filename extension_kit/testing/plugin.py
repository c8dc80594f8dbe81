"""The pytest plugin of extension-kit: the fixture ``agent``, an in-memory agent that calls an extension.

.. code-block:: python

    import pytest
    import oncall

    @pytest.fixture
    def extension():
        return oncall.extension

    def test_pages_when_an_experiment_fails(agent):
        sent = agent.send("experiment.execution.failed", experiment_key="SHOP-7")
        assert sent.status == 200
        assert sent.ran == ["page"]

The kit is imported at the first use of a fixture, so that tests without one start no slower.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from extension_kit.extension import Extension
    from extension_kit.testing.agent import InMemoryAgent

_MISSING = """\
the fixture agent does not know your extension; define a fixture named extension in the test's file or in conftest.py:

    @pytest.fixture
    def extension():
        from oncall import extension

        return extension
"""


@pytest.fixture
def extension() -> "Extension":
    """The extension that ``agent`` calls. Define this fixture in your tests."""
    pytest.fail(_MISSING, pytrace=False)


@pytest.fixture
def agent(extension: "Extension") -> "InMemoryAgent":
    """An agent that calls your extension in memory; see ``extension_kit.testing.agent.InMemoryAgent``."""
    from extension_kit.extension import Extension
    from extension_kit.testing.agent import InMemoryAgent

    if not isinstance(extension, Extension):
        pytest.fail(f"the fixture extension returns {extension!r}: it should return your Extension", pytrace=False)
    return InMemoryAgent(extension)
