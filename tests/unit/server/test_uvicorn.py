"""What the kit builds upon in uvicorn: a release that changes it has to be looked at before it is used."""

import inspect
from hashlib import sha256

from uvicorn.protocols.http import flow_control, httptools_impl


def digest(thing):
    return sha256(inspect.getsource(thing).encode()).hexdigest()[:12]


def test_the_protocol_is_the_one_whose_methods_the_kit_overrides():
    assert digest(httptools_impl.HttpToolsProtocol) == "18fdf324b11b"


def test_the_request_is_the_one_that_the_kit_ends_and_wakes():
    assert digest(httptools_impl.RequestResponseCycle) == "e67d470d435d"


def test_reading_and_writing_are_paused_as_the_kit_expects():
    assert digest(flow_control.FlowControl) == "126debcdaa89"
