"""A taste of the fuzz drivers for every run, and hypothesis on what arrives before anybody is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.world import SERVER, A, B, World
from voicelink.core.states import State
from voicelink.errors import PacketError
from voicelink.secure.identity import Credentials, Identity
from voicelink.secure.seal import Opener
from voicelink.wire.handshake import HandshakeMessage, parse_handshake
from voicelink.wire.packet import Header, Kind, join, split

from .datagrams import PSK, Targets
from .files import Readers

SIZES = st.sampled_from([0, 1, 17, 18, 32, 33, 64, 65, 96, 97, 99, 100, 101, 200])
BODIES = SIZES.flatmap(lambda n: st.binary(min_size=n, max_size=n))
HANDSHAKES = st.builds(
    lambda kind, version, call, first, body: join(Header(kind, call, 0, 0, version), bytes([first]) + body),
    st.sampled_from(Kind), st.integers(0, 15), st.sampled_from([0, 1, 7]), st.integers(0, 7), BODIES,
)  # fmt: skip


@pytest.mark.parametrize("seed", [101, 102])
def test_damaged_datagrams(seed: int) -> None:
    targets = Targets(seed)
    for _ in range(30_000):
        targets.strike()
    assert targets.sealed > 5_000
    assert targets.replies > 0


def test_damaged_files(tmp_path: Path) -> None:
    readers = Readers(103, tmp_path)
    for _ in range(2_000):
        readers.strike()
    assert readers.taken > 50


@given(st.binary(max_size=120))
def test_any_bytes_are_a_handshake_message_or_a_packet_error(data: bytes) -> None:
    try:
        message: HandshakeMessage = parse_handshake(data)
    except PacketError:
        return
    assert bytes(message) == data


@given(st.binary(min_size=7, max_size=60), st.integers(0, 1 << 40))
def test_any_bytes_open_to_nothing(data: bytes, expected: int) -> None:
    try:
        header, _ = split(data)
    except PacketError:
        return
    if header.kind in (Kind.MEDIA, Kind.CONTROL):
        opener = Opener(bytes(32))
        opener._expected = dict.fromkeys((Kind.MEDIA, Kind.CONTROL), expected)
        with pytest.raises(PacketError):
            opener.open(header, data)


@settings(max_examples=300)
@given(st.lists(HANDSHAKES, max_size=12), st.booleans(), st.integers(0, 2))
def test_any_handshakes_leave_a_session_where_it_was(datagrams: list[bytes], passphrase: bool, start: int) -> None:
    credentials = Credentials(Identity(b"x" * 32), PSK if passphrase else None)
    session = World().session(A, name="x", credentials=credentials)
    (lambda: session.listen(0), lambda: session.listen(0, SERVER), lambda: session.call(B, 0))[start]()
    session.datagrams_to_send(0)
    was = session.state
    for data in datagrams:
        session.handle_datagram(data, B, 1)
        out = session.datagrams_to_send(1)
        assert sum(len(d) for d, _ in out) <= len(data)
        assert all(split(d)[0].kind is Kind.HANDSHAKE for d, _ in out)
    assert session.state is was is not State.ENDED
    counted = session.stats.packets_invalid + session.stats.packets_unexpected
    assert counted <= len(datagrams)
