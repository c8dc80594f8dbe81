"""What is encrypted can be read with one of the secrets, for the same purpose and unchanged, and in no other way."""

import traceback

import pytest

from extension_kit.store.cipher import Cipher
from tests.support.fernet import fernet_token

OLD, NEW, OTHER = b"the old secret", b"the new secret", b"the secret of others"
CONTENT = b'{"password": "pass\x00w\xc3\xb6rd"}'


def cipher(*secrets, purpose="doorbell"):
    return Cipher(secrets, purpose)


@pytest.mark.parametrize("content", [CONTENT, b"", b"0" * 1_000_000], ids=["text", "empty", "large"])
def test_the_content_comes_back_and_is_not_in_the_encrypted_form(content):
    encrypted = cipher(NEW).encrypt(content)
    assert cipher(NEW).decrypt(encrypted) == content
    assert b"password" not in encrypted


def test_the_same_content_is_never_encrypted_to_the_same():
    assert cipher(NEW).encrypt(CONTENT) != cipher(NEW).encrypt(CONTENT)


@pytest.mark.parametrize("secret", [b"s", b"\xff\x00" * 16, b"0" * 10_000], ids=["short", "bytes", "long"])
def test_a_secret_has_any_length(secret):
    assert cipher(secret).decrypt(cipher(secret).encrypt(CONTENT)) == CONTENT


def test_after_a_rotation_the_old_is_read_and_the_new_is_written():
    before, rotated, after = cipher(OLD), cipher(NEW, OLD), cipher(NEW)
    assert rotated.decrypt(before.encrypt(CONTENT)) == CONTENT
    written = rotated.encrypt(CONTENT)
    assert rotated.decrypt(written) == after.decrypt(written) == CONTENT
    with pytest.raises(ValueError, match="another secret"):
        before.decrypt(written)


@pytest.mark.parametrize(
    "reader",
    [cipher(OTHER), cipher(OTHER, OLD), cipher(NEW, purpose="bell"), cipher(NEW, purpose="")],
    ids=["another secret", "several others", "another purpose", "no purpose"],
)
def test_others_cannot_read_it(reader):
    with pytest.raises(ValueError, match="it was encrypted with another secret, or changed since"):
        reader.decrypt(cipher(NEW).encrypt(CONTENT))


def test_each_changed_byte_is_noticed():
    mine, encrypted = cipher(NEW), cipher(NEW).encrypt(CONTENT)
    for place in range(len(encrypted)):
        changed = bytearray(encrypted)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="changed since"):
            mine.decrypt(bytes(changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda encrypted: b"",
        lambda encrypted: encrypted[:1],
        lambda encrypted: encrypted[:20],
        lambda encrypted: encrypted[:29],
        lambda encrypted: encrypted[:-4],
        lambda encrypted: encrypted[4:],
        lambda encrypted: CONTENT,
    ],
    ids=["nothing", "form", "half a head", "head", "no end", "no beginning", "never encrypted"],
)
def test_what_is_not_as_it_was_written_is_refused(change):
    with pytest.raises(ValueError, match="changed since"):
        cipher(NEW).decrypt(change(cipher(NEW).encrypt(CONTENT)))


def test_no_secret_and_no_content_is_shown():
    mine = cipher(NEW, OLD)
    with pytest.raises(ValueError, match="changed since") as failed:
        mine.decrypt(cipher(OTHER).encrypt(CONTENT))
    shown = f"{mine!r} {vars(mine)!r} {failed.value!r} {''.join(traceback.format_exception(failed.value))}"
    for secret in (NEW, OLD, OTHER, b"w\xc3\xb6rd"):
        assert secret.decode() not in shown


def test_values_of_earlier_releases_are_read():
    assert cipher(NEW, OLD).decrypt(fernet_token(OLD, CONTENT, "doorbell")) == CONTENT
    with pytest.raises(ValueError, match="another secret"):
        cipher(OTHER).decrypt(fernet_token(OLD, CONTENT, "doorbell"))


def test_values_of_the_first_secret_are_current_whatever_release_wrote_them():
    mine = cipher(NEW, OLD)
    for content in (mine.encrypt(CONTENT), cipher(NEW).encrypt(CONTENT), fernet_token(NEW, CONTENT, "doorbell")):
        assert mine.is_current(content)
    for content in (cipher(OLD).encrypt(CONTENT), fernet_token(OLD, CONTENT, "doorbell")):
        assert not mine.is_current(content)


def test_ciphers_of_the_same_secret_encrypt_with_keys_of_their_own():
    one, other = cipher(NEW).encrypt(b""), cipher(NEW).encrypt(b"")
    assert one[:17] != other[:17]
    with pytest.raises(ValueError, match="changed since"):
        cipher(NEW).decrypt(other[:17] + one[17:])


def test_an_encrypted_value_is_little_longer_than_its_content():
    assert len(cipher(NEW).encrypt(CONTENT)) == len(CONTENT) + 45


def test_without_a_secret_there_is_no_cipher():
    with pytest.raises(ValueError, match="at least one"):
        cipher()
