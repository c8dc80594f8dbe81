"""Targets may name authorities of their own: each target only its own, inside one folder, and renewed ones at once."""

import os
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome, ca_files
from extension_kit.senders.ca_files import CaFileError, CaFiles
from extension_kit.senders.http import HttpSender
from tests.support.receivers import TIMEOUT, local_addresses, message

KEY = "EXTENSION_DELIVERY_CA_FOLDER"
UNKNOWN = "unable to get local issuer certificate"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cas").mkdir()
    return tmp_path / "cas"


@pytest.fixture
def put(folder):
    """Put the certificate of an authority into the folder."""

    def put(name: str, authority: trustme.CA) -> str:
        (folder / "new").write_bytes(authority.cert_pem.bytes())
        (folder / "new").rename(folder / name)
        return str(folder / name)

    return put


@pytest.fixture
def make(folder):
    made = []

    def make(**more) -> HttpSender:
        options = {"timeout": TIMEOUT, "ca_files": CaFiles(str(folder)), **more}
        made.append(HttpSender(local_addresses(), **options))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


def test_a_receiver_is_verified_by_the_authorities_of_its_target(make, put, authority, tls_for, receiver):
    there, sender = receiver(tls=tls_for("receiver.test")), make()
    target = {"url": there.url(), "ca_file": put("own.pem", authority)}
    assert sender.check(target) == {}
    assert sender.send(target, message()) == Outcome("delivered", status=200)
    outcome = sender.send({"url": there.url()}, message())
    assert (outcome.result, outcome.status) == ("failed", None)
    assert UNKNOWN in outcome.error


def test_they_replace_those_of_the_settings(make, put, ca_file, tls_for, receiver):
    there, sender = receiver(tls=tls_for("receiver.test")), make(ca_file=ca_file)
    assert sender.send({"url": there.url()}, message()).result == "delivered"
    outcome = sender.send({"url": there.url(), "ca_file": put("other.pem", trustme.CA())}, message())
    assert (outcome.result, UNKNOWN in outcome.error) == ("failed", True)


def test_two_targets_at_one_host_share_no_connection(make, put, authority, tls_for, receiver):
    there, sender = receiver(tls=tls_for("receiver.test")), make()
    own, same = put("own.pem", authority), put("same.pem", authority)
    other = put("other.pem", trustme.CA())
    for _ in range(2):
        assert sender.send({"url": there.url(), "ca_file": own}, message()).result == "delivered"
    assert there.server.accepted == 1
    assert sender.send({"url": there.url(), "ca_file": other}, message()).result == "failed"
    assert sender.send({"url": there.url()}, message()).result == "failed"
    assert sender.send({"url": there.url(), "ca_file": same}, message()).result == "delivered"
    assert there.server.accepted == 4
    assert len(there.requests) == 3


def test_a_renewed_file_is_used_from_the_next_attempt_on(make, put, authority, tls_for, receiver):
    there, sender = receiver(tls=tls_for("receiver.test")), make()
    target = {"url": there.url(), "ca_file": put("own.pem", trustme.CA())}
    assert sender.send(target, message()).result == "failed"
    put("own.pem", authority)
    assert sender.send(target, message()).result == "delivered"
    put("own.pem", trustme.CA())
    assert sender.send(target, message()).result == "failed"


def test_a_file_that_is_gone_or_damaged_fails_attempts_until_it_is_back(make, put, authority, tls_for, receiver):
    there, sender = receiver(tls=tls_for("receiver.test")), make()
    path = Path(put("own.pem", authority))
    target = {"url": there.url(), "ca_file": str(path)}
    assert sender.send(target, message()).result == "delivered"
    path.write_text("half a cert")
    assert sender.send(target, message()) == Outcome(
        "failed", "not sent: ca_file: A PEM file of certificates is needed."
    )
    path.unlink()
    assert sender.send(target, message()) == Outcome(
        "failed", "not sent: ca_file: The file is not there, or cannot be read."
    )
    put("own.pem", authority)
    assert sender.send(target, message()).result == "delivered"


def test_the_name_of_the_server_is_verified_too(make, put, authority, tls_for, receiver):
    there, sender = receiver(tls=tls_for("other.test")), make()
    outcome = sender.send({"url": there.url(), "ca_file": put("own.pem", authority)}, message())
    assert (outcome.result, "receiver.test" in outcome.error) == ("failed", True)


def test_plain_http_needs_none_of_it(make, put, receiver):
    there, sender = receiver(), make()
    assert sender.send({"url": there.url(), "ca_file": put("own.pem", trustme.CA())}, message()).result == "delivered"


class TestFilesThatMayBeNamed:
    def problem(self, sender, name):
        problems = sender.check({"url": "https://receiver.test", "ca_file": name})
        assert problems.keys() <= {"ca_file"}
        return problems.get("ca_file")

    def test_by_an_absolute_path_or_one_from_the_folder(self, make, put, folder, authority):
        sender = make()
        put("own.pem", authority)
        (folder / "deep").mkdir()
        put("deep/own.pem", authority)
        for name in (str(folder / "own.pem"), "own.pem", "deep/own.pem", "./deep/../own.pem"):
            assert self.problem(sender, name) is None

    @pytest.mark.parametrize(
        "name",
        [
            "{outside}",
            "../outside.pem",
            "link.pem",
            "linked/outside.pem",
            "/etc/passwd",
            "/none",
            ".",
            "a\0b",
            "\ud800",
        ],
    )
    def test_no_other_is_read_and_nobody_learns_if_it_exists(self, make, folder, authority, name):
        outside = folder.parent / "outside.pem"
        outside.write_bytes(authority.cert_pem.bytes())
        (folder / "link.pem").symlink_to(outside)
        (folder / "linked").symlink_to(folder.parent)
        problem = self.problem(make(), name.format(outside=outside))
        assert problem == f"A file in the folder that {KEY} names is needed."

    def test_a_folder_beside_it_with_a_longer_name_is_another(self, make, folder, authority):
        beside = folder.with_name("cas-of-others")
        beside.mkdir()
        (beside / "own.pem").write_bytes(authority.cert_pem.bytes())
        assert KEY in self.problem(make(), str(beside / "own.pem"))

    def test_links_within_it_are_followed(self, make, put, folder, authority, tls_for, receiver):
        """As Kubernetes puts secrets there: it renews them by another link."""
        there, sender = receiver(tls=tls_for("receiver.test")), make()
        for name, by in (("1", trustme.CA()), ("2", authority)):
            (folder / f"..{name}").mkdir()
            put(f"..{name}/ca.pem", by)
        (folder / "..data").symlink_to("..1")
        (folder / "ca.pem").symlink_to("..data/ca.pem")
        target = {"url": there.url(), "ca_file": "ca.pem"}
        assert sender.send(target, message()).result == "failed"
        (folder / "..new").symlink_to("..2")
        (folder / "..new").rename(folder / "..data")
        assert sender.send(target, message()).result == "delivered"

    def test_none_without_a_folder(self, make, put, authority):
        path = put("own.pem", authority)
        for sender in (make(ca_files=CaFiles(None)), make(ca_files=None)):
            assert KEY in self.problem(sender, path)
            assert sender.send({"url": "https://receiver.test", "ca_file": path}, message()).result == "failed"

    def test_they_have_to_hold_certificates(self, make, folder):
        (folder / "empty").touch()
        (folder / "blank").write_text(" \n")
        (folder / "text").write_text("s3cret")
        (folder / "bytes").write_bytes(bytes(range(256)))
        (folder / "large").write_bytes(b"\n" * (ca_files._MOST_BYTES + 1))
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        for name in ("empty", "blank", "text", "bytes", "large", "folder", "pipe"):
            assert self.problem(make(), name) == "A PEM file of certificates is needed."
        assert self.problem(make(), "missing") == "The file is not there, or cannot be read."

    def test_comments_in_them_are_no_harm(self, make, folder, authority):
        (folder / "own.pem").write_bytes("# Größe\n".encode() + authority.cert_pem.bytes() + b"# end\n")
        assert self.problem(make(), "own.pem") is None

    def test_the_folder_has_to_be_there(self, tmp_path):
        with pytest.raises(ConfigurationError, match=f'{KEY}: "{tmp_path}/none" is not a folder'):
            CaFiles(str(tmp_path / "none"))


def test_only_some_contexts_are_kept(folder, put, authority, monkeypatch):
    monkeypatch.setattr(ca_files, "_CONTEXTS", 3)
    files = CaFiles(str(folder))
    for number in range(5):
        put(f"{number}.pem", authority)
    first = files.context("0.pem")
    assert files.context("0.pem") is first
    for number in (1, 2, 0, 3):
        files.context(f"{number}.pem")
    assert files.context("0.pem") is first
    for number in (1, 2, 3):
        files.context(f"{number}.pem")
    assert files.context("0.pem") is not first


def test_threads_may_ask_at_the_same_time(folder, put, authority):
    put("own.pem", authority)
    files, found = CaFiles(str(folder)), []
    threads = [threading.Thread(target=lambda: found.append(files.context("own.pem"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert [context.verify_mode for context in found] == [ssl.CERT_REQUIRED] * 8


def test_errors_hold_neither_name_nor_content(folder):
    (folder / "s3cret.pem").write_text("s3cret")
    with pytest.raises(CaFileError) as refused:
        CaFiles(str(folder)).context("s3cret.pem")
    assert "s3cret" not in str(refused.value)
