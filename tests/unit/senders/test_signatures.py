"""The signature headers, as receivers verify them."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone

import pytest
from marshmallow import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from extension_kit.senders.signatures import check_secrets, signature_headers

SECRET = "whsec_" + b64encode(b"k" * 32).decode()
OTHER = "whsec_" + b64encode(b"o" * 24).decode()


def test_the_example_of_the_specification():
    headers = signature_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers == {
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-7))], ids=str)
@pytest.mark.parametrize("body", [b"{}", b"", '{"name": "Zürich ✓"}'.encode()], ids=["object", "empty", "unicode"])
def test_a_receiver_can_verify_it(zone, body):
    headers = signature_headers(SECRET, "msg_1", body, datetime.now(zone)) | {"webhook-id": "msg_1"}
    Webhook(SECRET).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers, json_parse=False)


def test_while_secrets_are_changed_each_of_them_verifies():
    headers = signature_headers(f"{SECRET}  {OTHER}", "msg_1", b"{}", datetime.now(UTC)) | {"webhook-id": "msg_1"}
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(b"{}", headers)


def test_what_is_not_utf_8_is_not_signed():
    with pytest.raises(UnicodeDecodeError):
        signature_headers(SECRET, "msg_1", b"\xff", datetime.now(UTC))


@pytest.mark.parametrize("secrets", [SECRET, OTHER, f"{SECRET} {OTHER}", SECRET.rstrip("=")])
def test_good_secrets(secrets):
    check_secrets(secrets)
    assert signature_headers(secrets, "msg_1", b"{}", datetime.now(UTC))


@pytest.mark.parametrize(
    "secrets",
    [
        "",
        " ",
        "whsec_",
        SECRET.removeprefix("whsec_"),
        "whsec_" + b64encode(b"short").decode(),
        "whsec_" + b64encode(b"x" * 65).decode(),
        "whsec_" + "!" * 40,
        "whsec_" + "é" * 40,
        f"{SECRET} password",
        f"{SECRET},{OTHER}",
    ],
)
def test_bad_secrets_are_not_repeated_in_the_error(secrets):
    with pytest.raises(ValidationError, match="whsec_") as raised:
        check_secrets(secrets)
    assert "24 to 64 bytes" in str(raised.value)
    assert "password" not in str(raised.value)
