import pytest

from extension_kit import AccessTokenPrincipal, BatchPrincipal, Principal, UserPrincipal
from tests.support.events import event


@pytest.mark.parametrize(
    ("body", "kind", "name"),
    [
        ({"principalType": "user", "username": "u", "name": "n"}, UserPrincipal, "n"),
        ({"principalType": "USER", "username": "u"}, UserPrincipal, "u"),
        ({"principalType": "access_token", "id": "i", "name": "n", "tokenType": "ADMIN"}, AccessTokenPrincipal, "n"),
        ({"principalType": "batch_job", "username": "b"}, BatchPrincipal, "b"),
        ({"principalType": "robot", "id": "r"}, Principal, "r"),
        ({"principalType": 5}, Principal, None),
        ({}, Principal, None),
    ],
)
def test_the_principal_is_of_the_type_it_names(body, kind, name):
    principal = event(principal=body).principal
    assert type(principal) is kind
    assert principal.display_name == name
    assert principal.raw == body


def test_a_token_type_is_folded():
    assert event(principal={"principalType": "access_token", "tokenType": "ADMIN"}).principal.token_type == "admin"
