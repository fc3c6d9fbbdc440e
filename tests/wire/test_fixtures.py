"""Datagrams kept as files: what was sent once must be read for ever, and damage must be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicelink.errors import ControlError, PacketError
from voicelink.wire.control import Hello, Offer, Report, encode_control, parse_control
from voicelink.wire.packet import Header, Kind, MediaPacket, join, split
from voicelink.wire.rendezvous import Register, encode_rendezvous, parse_client_message

FOLDER = Path(__file__).parents[1] / "fixtures"
HELLO_OFFER = Offer(("h512-harmonic-1a2b3c4d",), 8, 64, 2, 1, 8, 2)

GOOD = {
    "media_plain": (Header(Kind.MEDIA, 0x01020304, 0xFFFE), MediaPacket(0xFFFF, 5, (b"\xb0", b"\x08"))),
    "media_redundant": (
        Header(Kind.MEDIA, 0x01020304, 0xFFFE),
        MediaPacket(258, 12, (b"\xab\xc0",), 4, (b"\x10", b"\x20")),
    ),
    "control_hello": (
        Header(Kind.CONTROL, 0x01020304, 0),
        Hello(7, "alice", HELLO_OFFER, (("192.0.2.1", 40001),)),
    ),
    "control_report": (
        Header(Kind.CONTROL, 0x01020304, 0),
        Report(9, 4000000000, 17, 250000, 1000, 31, 4, 66, 2300, 61000),
    ),
    "server_register": (Header(Kind.SERVER, 0, 1), Register(3, "bob", bytes(range(8)), b"", bytes(300))),
}


def parse(datagram: bytes) -> tuple[Header, object]:
    header, body = split(datagram)
    if header.kind is Kind.MEDIA:
        return header, MediaPacket.parse(body)
    if header.kind is Kind.CONTROL:
        return header, parse_control(body)
    return header, parse_client_message(body)


def encode(header: Header, value: object) -> bytes:
    if isinstance(value, MediaPacket):
        return join(header, bytes(value))
    if isinstance(value, Register):
        return join(header, encode_rendezvous(value))
    assert isinstance(value, (Hello, Report))
    return join(header, encode_control(value))


@pytest.mark.parametrize("name", GOOD)
def test_good_datagrams_are_read_and_written_as_they_are(name: str) -> None:
    data = (FOLDER / f"good_{name}.bin").read_bytes()
    assert parse(data) == GOOD[name]
    assert encode(*GOOD[name]) == data


@pytest.mark.parametrize("name", GOOD)
def test_every_truncation_of_a_good_datagram_is_told(name: str) -> None:
    data = (FOLDER / f"good_{name}.bin").read_bytes()
    for length in range(len(data)):
        with pytest.raises((PacketError, ControlError)):
            parse(data[:length])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("bad_*.bin")), ids=lambda p: p.stem)
def test_bad_datagrams_are_told(path: Path) -> None:
    with pytest.raises((PacketError, ControlError)):
        parse(path.read_bytes())


def test_all_files_are_tested() -> None:
    assert {p.stem[5:] for p in FOLDER.glob("good_*.bin")} == set(GOOD)
    assert len(list(FOLDER.glob("bad_*.bin"))) == 29
