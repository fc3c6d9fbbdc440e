"""No key, passphrase or code in any log at debug level, nor in any event or figure."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
from voicelink_client.call import CallPlan, run_call
from voicelink_client.engine import Engine
from voicelink_client.streams import PacedSink, null_source

from tests.client.fake_codec import FakeCodec
from tests.client.test_call import View
from voicelink.core.events import Connected, EndReason
from voicelink.core.switchboard import Switchboard
from voicelink.keystore import KeyStore
from voicelink.net.loop import run
from voicelink.net.relay import RelayDriver
from voicelink.secure import handshake
from voicelink.secure.identity import Credentials, psk_of
from voicelink.settings import ServerSettings, SessionSettings, format_address

PASSPHRASE = "correct horse battery staple"


def forms(secret: bytes) -> list[str]:
    """What a key may look like in a text."""
    return [secret.hex(), secret.hex(" "), repr(secret)[2:-1], base64.b64encode(secret).decode(), str(list(secret))]


@pytest.mark.parametrize("same_passphrase", [True, False])
def test_logs_hold_no_secret(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_passphrase: bool
) -> None:
    for logger in ("", "voicelink", "voicelink_client", "voicelink_server"):  # whatever other tests have set
        caplog.set_level(logging.DEBUG, logger)
    stores = [KeyStore(tmp_path / name) for name in ("alice", "bob")]
    psks = [psk_of(PASSPHRASE), psk_of(PASSPHRASE if same_passphrase else "another")]
    secrets = [store.identity().private for store in stores] + psks
    original = handshake.Secrets

    def kept(send: bytes, receive: bytes, *rest: object) -> handshake.Secrets:
        secrets.extend((send, receive))
        return original(send, receive, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(handshake, "Secrets", kept)

    async def scenario() -> list[str]:
        import asyncio
        import os

        async with await RelayDriver.open(Switchboard(ServerSettings(), entropy=os.urandom), ("127.0.0.1", 0)) as relay:
            at = format_address(relay.local_address)
            views = [View(), View()]
            plans = [
                CallPlan(
                    SessionSettings(name=name, bits_min=32, bits_max=32), target, at, ("127.0.0.1", 0), 0.5,
                    credentials=Credentials(store.identity(), psk, store.known()), remember=store.remember,
                )
                for name, target, store, psk in zip(("bob", "alice"), (None, "bob"), stores[::-1], psks, strict=True)
            ]  # fmt: skip
            engines = [Engine(FakeCodec(), null_source(), PacedSink()) for _ in plans]
            stop = asyncio.Event()
            waiting = asyncio.ensure_future(run_call(plans[0], FakeCodec(), engines[0], views[0], hang_up=stop))
            await views[0].address
            await asyncio.sleep(0.3)
            placed = await run_call(plans[1], FakeCodec(), engines[1], views[1])
            stop.set()
            taken = await waiting
            if same_passphrase:
                assert any(isinstance(e, Connected) for e in views[1].events)
                assert list(stores[0].known()) == [f"bob@{at}"]
                assert placed.figures["words"] == taken.figures["words"]
            else:
                assert placed.ended.reason is EndReason.PASSPHRASE
            return [repr(v.events) for v in views] + [repr(o.figures) + repr(o.stats) for o in (placed, taken)]

    texts = run(scenario()) + [record.getMessage() + repr(record.args) for record in caplog.records]
    assert any("event" in text for text in texts[4:]), "nothing was logged: this test would prove nothing"
    found = "\n".join(texts)
    assert PASSPHRASE not in found
    assert len(secrets) == (8 if same_passphrase else 6)
    for secret in secrets:
        assert not any(form in found for form in forms(secret))
