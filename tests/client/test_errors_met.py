"""Every error that a person meets when they call: one plain sentence that says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from voicelink_client.call import CallOutcome, CallPlan, run_call
from voicelink_client.engine import Engine
from voicelink_client.sentences import ADVICE, failure
from voicelink_client.streams import PacedSink, null_source

from tests.client.fake_codec import FakeCodec
from tests.client.test_call import LOCAL, View
from voicelink import cli
from voicelink.core.events import Ended, EndReason
from voicelink.core.switchboard import Switchboard
from voicelink.errors import CallError
from voicelink.net.loop import run
from voicelink.net.relay import RelayDriver
from voicelink.secure.identity import Credentials, Identity
from voicelink.settings import ServerSettings, SessionSettings, format_address
from voicelink.wire.handshake import Refusal, RefusalCode, parse_handshake
from voicelink.wire.packet import Header, Kind, join, split


def settings(**changes: Any) -> SessionSettings:
    return SessionSettings(**{"direct_path": False, "setup_timeout_ms": 400, **changes})


def engine() -> Engine:
    return Engine(FakeCodec(), null_source(), PacedSink())


async def place(target: str, server: str | None = None, **plan: Any) -> CallOutcome:
    plan = {"session": settings(name="alice"), **plan}
    return await run_call(CallPlan(target=target, server=server, local=LOCAL, **plan), FakeCodec(), engine(), View())


def sentence(outcome: CallOutcome) -> str:
    with pytest.raises(CallError) as caught:
        outcome.raise_for_failure()
    text = str(caught.value)
    assert "\n" not in text
    assert "the callee" not in text
    return text


async def to_listener(listener: View, taking: CallPlan, **caller: Any) -> tuple[CallOutcome, CallOutcome | None]:
    """Call somebody who listens by `taking`; how it went there, None where they go on listening."""
    stop = asyncio.Event()
    waiting = asyncio.ensure_future(run_call(taking, FakeCodec(), engine(), listener, hang_up=stop))
    placed = await place(format_address(await listener.address), **caller)
    stop.set()
    return placed, await waiting


def one_call(listener: Any, callee: SessionSettings, **more: Any) -> str:
    async def scenario() -> str:
        credentials = more.pop("callee_credentials", None)
        plan = CallPlan(callee, local=LOCAL, credentials=credentials)
        placed, _ = await to_listener(listener(), plan, **more)
        return sentence(placed)

    return run(scenario())


def test_refused() -> None:
    text = one_call(lambda: View(answer=False), settings(name="bob"))
    assert text == "the call was refused; call again when it suits them"


def test_no_answer() -> None:
    class Away(View):
        async def ask(self, call: object) -> bool:
            await asyncio.sleep(60)
            return True

    text = one_call(Away, settings(name="bob"), session=settings(name="alice", answer_timeout_ms=1000))
    assert text == "nobody answered; call again later"


def test_no_bitrate_in_common() -> None:
    low, high = settings(name="alice", bits_max=16), settings(name="bob", bits_min=32)
    text = one_call(View, high, session=low)
    start = "no bitrate in common: the caller allows 689-1378 bit/s, the other end 2756-5513 bit/s; "
    assert text.startswith(start)
    assert "--bitrate" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (bytes(32), bytes([1] * 32), "the other end has another passphrase"),
        (bytes(32), None, "we use a passphrase and the other end has none"),
        (None, bytes(32), "the other end wants a passphrase"),
    ],
)
def test_a_wrong_passphrase(ours: bytes | None, theirs: bytes | None, says: str) -> None:
    def who(psk: bytes | None) -> Credentials:
        return Credentials(Identity.generate(os.urandom), psk)

    text = one_call(View, settings(name="bob"), credentials=who(ours), callee_credentials=who(theirs))
    assert text.startswith(says)
    assert text.endswith("let both ends give the same --passphrase, or neither one")


def test_busy() -> None:
    async def scenario() -> None:
        view, stop = View(), asyncio.Event()
        taken = asyncio.ensure_future(
            run_call(CallPlan(settings(name="bob"), local=LOCAL), FakeCodec(), engine(), view, hang_up=stop)
        )
        target = format_address(await view.address)
        first = asyncio.ensure_future(place(target, seconds=2.0))
        while not view.statuses:
            await asyncio.sleep(0.02)
        assert sentence(await place(target)) == "the other end is in another call; call again in a while"
        (await first).raise_for_failure()
        await taken

    run(scenario())


def test_nobody_there() -> None:
    text = sentence(run(place("127.0.0.1:9")))
    assert text == (
        "no answer from 127.0.0.1:9; check the address, that it runs there, and that no firewall stops UDP to that port"
    )


def test_a_server_that_is_gone() -> None:
    text = sentence(run(place("bob", "127.0.0.1:9")))
    assert text.startswith("no answer from the server at 127.0.0.1:9; check the address")


def test_a_name_that_nobody_has() -> None:
    async def scenario() -> str:
        async with await RelayDriver.open(Switchboard(ServerSettings(), entropy=os.urandom), LOCAL) as relay:
            return sentence(await place("bbo", format_address(relay.local_address)))

    text = run(scenario())
    assert text.startswith("bbo is not registered here; check the spelling, and that `voicelink listen --name NAME`")


def test_another_version() -> None:
    async def scenario() -> str:
        class Older(asyncio.DatagramProtocol):
            transport: asyncio.DatagramTransport

            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                header, body = split(data)
                refusal = bytes(Refusal(RefusalCode.VERSION, parse_handshake(body).echo))  # type: ignore[union-attr]
                reply = join(Header(Kind.HANDSHAKE, header.connection_id, 0), refusal)
                self.transport.sendto(bytes([reply[0] & 0xF0 | 1]) + reply[1:], addr)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Older, local_addr=LOCAL)
        try:
            return sentence(await place(format_address(transport.get_extra_info("sockname")[:2])))
        finally:
            transport.close()

    text = run(scenario())
    assert text.startswith("the other end speaks version 1 of the protocol, this is version ")
    assert text.endswith("update voicelink at the end that has the older one")


def test_a_port_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(LOCAL)
        plan = CallPlan(settings(name="bob"), local=taken.getsockname())
        with pytest.raises(CallError, match=r"cannot listen at .*: the port is taken; choose another, or 0"):
            run(run_call_without_view(plan))


async def run_call_without_view(plan: CallPlan) -> CallOutcome:
    return await run_call(plan, FakeCodec(), engine(), View())


@pytest.mark.parametrize("end", ["--input", "--output"])
def test_no_such_device(end: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"--input": "--output", "--output": "--input"}[end]
    code = cli.main(["call", "127.0.0.1:9", end, "no such thing", other, "null", "--keys", str(tmp_path)])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert "no such thing" in lines[0] or "PortAudio" in lines[0]
    assert "voicelink devices" in lines[0] or "null" in lines[0]


def test_every_end_that_is_a_failure_has_advice() -> None:
    told_elsewhere = {EndReason.HUNG_UP, EndReason.CANCELLED, EndReason.SERVER, EndReason.KEY}
    assert set(ADVICE) == set(EndReason) - told_elsewhere
    for reason in EndReason:
        assert failure(Ended(reason, True, "")).startswith(f"the call failed: {reason}")
