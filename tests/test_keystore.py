from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from voicelink.errors import ConfigError
from voicelink.keystore import IDENTITY_FILE, MAX_FILE_BYTES, MAX_PEERS, PEERS_FILE, KeyStore, default_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = KeyStore(tmp_path / "a" / "keys")
        identity = store.identity()
        store.remember("bob", bytes(32))
    finally:
        os.umask(umask)
    assert KeyStore(store.folder).identity().public == identity.public
    assert mode(store.folder) == 0o700
    assert {p.name: mode(p) for p in store.folder.iterdir()} == {IDENTITY_FILE: 0o600, PEERS_FILE: 0o600}


def test_two_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(KeyStore(tmp_path).identity().public)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [p.name for p in tmp_path.iterdir()] == [IDENTITY_FILE]


def test_peers_are_remembered_replaced_and_forgotten(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    assert store.known() == {}
    store.remember("bob@192.0.2.1:47600", b"b" * 32)
    store.remember("a name with blanks ü", b"c" * 32)
    store.remember("bob@192.0.2.1:47600", b"d" * 32)
    assert KeyStore(tmp_path).known() == {"bob@192.0.2.1:47600": b"d" * 32, "a name with blanks ü": b"c" * 32}
    store.forget("bob@192.0.2.1:47600")
    assert list(store.known()) == ["a name with blanks ü"]
    with pytest.raises(ConfigError, match="no key of 'bob' is known"):
        store.forget("bob")


def test_the_file_of_peers_is_bounded(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store._write_known({f"n{i}": bytes(32) for i in range(MAX_PEERS)})
    store.remember("one more", bytes(32))
    known = store.known()
    assert len(known) == MAX_PEERS
    assert "n0" not in known
    assert "one more" in known


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (IDENTITY_FILE, b"nonsense", "holds no private key"),
        (IDENTITY_FILE, b"\xff\xfe", "is not text"),
        (PEERS_FILE, b"AAAA bob\n", "line 1: not a key and a name"),
        (PEERS_FILE, b"x" * (MAX_FILE_BYTES + 1), "larger than 4 MiB"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).chmod(0o600)
    store = KeyStore(tmp_path)
    with pytest.raises(ConfigError, match=says):
        store.identity() if name == IDENTITY_FILE else store.known()


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.identity()
    (tmp_path / IDENTITY_FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        store.identity()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another folder with --keys"):
        KeyStore(tmp_path / "file" / "keys").identity()


def test_where_keys_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "voicelink"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".config" / "voicelink"
