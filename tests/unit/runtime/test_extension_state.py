"""The state of extensions that are served, read outside deliveries."""

from datetime import UTC, datetime, timedelta

import pytest

from extension_kit import Extension
from extension_kit.deliveries.state_rows import write_changes
from extension_kit.events.state_values import Change
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings

LATER = datetime.now(UTC) + timedelta(days=1)


def extension(name, *, immediate=False):
    made = Extension(name)
    made.listen_to("*", name=name, path=f"/events/{name}", immediate=immediate)(lambda event: None)
    return made


@pytest.fixture
def opened(tmp_path):
    services = []

    def opened(*extensions):
        service = Service.of(extensions, Settings(database_url=f"sqlite:///{tmp_path}/extension.db")).open()
        services.append(service)
        return service

    yield opened
    for service in services:
        if service.runtime:
            service.runtime.close(5)


def test_each_extension_reads_its_own(opened):
    one, two = extension("one"), extension("two")
    service = opened(one, two)
    with service.runtime.database.transaction() as connection:
        write_changes(
            connection, [(name, "name", Change(b'"%s"' % name.encode(), LATER)) for name in ("one", "two")], LATER
        )
    assert (one.state.get("name"), two.state.get("name")) == ("one", "two")


def test_without_a_durable_listener_there_is_none(opened):
    one = extension("one", immediate=True)
    opened(one)
    with pytest.raises(RuntimeError, match="with a durable listener"):
        one.state.keys()
