"""`voicelink keys`, and the options of a call that have to do with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voicelink import cli
from voicelink.audio.wav import WavWriter
from voicelink.commands.call import CallOptions
from voicelink.errors import ConfigError
from voicelink.keystore import KeyStore
from voicelink.secure.identity import fingerprint


def test_keys_shows_and_forgets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--keys", str(tmp_path / "keys")]
    assert cli.main(["keys", *folder]) == 0
    store = KeyStore(tmp_path / "keys")
    own = fingerprint(store.identity().public)
    assert capsys.readouterr().out == f"{own}  our own key, in {tmp_path / 'keys'}\n"
    store.remember("bob@192.0.2.1:47600", bytes(32))
    assert cli.main(["keys", "--json", *folder]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["own"], shown["known"]) == (own, [{"name": "bob@192.0.2.1:47600", "key": fingerprint(bytes(32))}])
    assert cli.main(["keys", "--forget", "bob@192.0.2.1:47600", *folder]) == 0
    assert store.known() == {}
    assert cli.main(["keys", "--forget", "bob", *folder]) == 2
    assert "no key of 'bob' is known" in capsys.readouterr().err


def test_a_passphrase_is_asked_for_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="VOICELINK_KEYS_PASSPHRASE"):
        CallOptions(passphrase="-").options()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("voicelink.commands.call.getpass", lambda prompt: "open sesame")
    assert CallOptions(passphrase="-").options()["keys.passphrase"] == "open sesame"
    assert CallOptions(passphrase="x").options()["keys.passphrase"] == "x"
    assert "sesame" not in repr(CallOptions(passphrase="open sesame"))


def test_a_recording_is_for_its_owner_only(tmp_path: Path) -> None:
    for private, mode in ((True, 0o600), (False, 0o644)):
        path = tmp_path / f"{private}.wav"
        writer = WavWriter(path, 22_050, private=private)
        writer.write(np.zeros(10, np.float32))
        writer.close()
        assert path.stat().st_mode & 0o777 & ~0o022 == mode
