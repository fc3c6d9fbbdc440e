"""Datagrams kept as files: what was sent once must be read for ever, and damage must be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voicelink.errors import ControlError, PacketError
from voicelink.secure.seal import REKEY_AFTER_NS, Opener, ReplayError, Sealer
from voicelink.wire.control import (
    Bundle,
    Hello,
    Offer,
    Ok,
    Report,
    Status,
    encode_bundle,
    encode_control,
    parse_body,
    parse_control,
)
from voicelink.wire.handshake import Cookie, Finish, Init, Pattern, Refusal, RefusalCode, Reply, parse_handshake
from voicelink.wire.media import Block, Feedback, MediaPacket, PauseNotice
from voicelink.wire.packet import Header, Kind, join, split
from voicelink.wire.rendezvous import (
    Register,
    Retry,
    cookie_of,
    encode_reply,
    encode_request,
    parse_reply,
    parse_request,
)

FOLDER = Path(__file__).parents[1] / "fixtures"
COOKIE = bytes(range(16))
SECRET = bytes(range(32))
HANDSHAKE = Header(Kind.HANDSHAKE, 0x01020304, 0)
HELLO_OFFER = Offer(("h512-harmonic-1a2b3c4d",), 8, 64, 2, 1, 8)
FEEDBACK = Feedback(1000, 1031, 5, 10, 40, -2, 16, 180)
PAUSE = PauseNotice(3, bytes(range(0x20, 0xA0, 0x10)))

GOOD = {
    "media_plain": (Header(Kind.MEDIA, 0x01020304, 0xFFFE), MediaPacket(0xFFFF, 5, (b"\xb0", b"\x08"))),
    "media_redundant": (
        Header(Kind.MEDIA, 0x01020304, 0xFFFE),
        MediaPacket(258, 12, (b"\xab\xc0",), (Block(0, 4, (b"\x10", b"\x20")),)),
    ),
    "media_far": (
        Header(Kind.MEDIA, 0x01020304, 0xFFFE),
        MediaPacket(258, 12, (b"\xab\xc0",), (Block(0, 4, (b"\x10",)), Block(5, 8, (b"\x23", b"\x45"))), spurt=True),
    ),
    "media_feedback": (
        Header(Kind.MEDIA, 0x01020304, 0xFFFE),
        MediaPacket(0xFFFF, 5, (b"\xb0", b"\x08"), feedback=FEEDBACK),
    ),
    "media_pause": (Header(Kind.MEDIA, 0x01020304, 0xFFFE), MediaPacket(258, 0, (), pause=PAUSE)),
    "media_pause_more": (
        Header(Kind.MEDIA, 0x01020304, 0xFFFE),
        MediaPacket(258, 0, (), (Block(3, 4, (b"\x10", b"\x20")),), feedback=FEEDBACK, pause=PAUSE),
    ),
    "control_hello": (
        Header(Kind.CONTROL, 0x01020304, 0),
        Hello(7, "alice", HELLO_OFFER, (("192.0.2.1", 40001),)),
    ),
    "control_report": (
        Header(Kind.CONTROL, 0x01020304, 0),
        Report(9, 4000000000, 17, 250000, 1000, 31, 4, 66, 2300, 61000),
    ),
    "control_status": (
        Header(Kind.CONTROL, 0x01020304, 0),
        Status(11, muted=True, holding=False, deaf=False, silent=True, frame=65535, bits=32),
    ),
    "server_register": (
        Header(Kind.SERVER, 3, 0),
        (COOKIE, Register(3, "bob", bytes(range(32)), bytes(range(16)), bytes(280))),
    ),
    "server_retry": (Header(Kind.SERVER, 0, 0), Retry(0, 3, COOKIE, bytes(range(32)))),
    "handshake_init": (HANDSHAKE, Init(Pattern.XXPSK3, COOKIE, bytes(range(100, 182)))),
    "handshake_reply": (HANDSHAKE, Reply(bytes(range(96)))),
    "handshake_finish": (HANDSHAKE, Finish(bytes(range(64)))),
    "handshake_cookie": (HANDSHAKE, Cookie(bytes(range(100, 116)), COOKIE)),
    "handshake_refusal": (HANDSHAKE, Refusal(RefusalCode.BUSY, bytes(range(100, 116)))),
}
SEALED = {
    "sealed_media": GOOD["media_plain"][1],
    "sealed_media_next_key": GOOD["media_plain"][1],
    "sealed_control": GOOD["control_report"][1],
}


def parse(datagram: bytes) -> tuple[Header, object]:
    header, body = split(datagram)
    if header.kind is Kind.MEDIA:
        return header, MediaPacket.parse(body)
    if header.kind is Kind.CONTROL:
        (message,) = parse_body(body)
        return header, message
    if header.kind is Kind.HANDSHAKE:
        return header, parse_handshake(body)
    if header.connection_id:
        return header, (cookie_of(body), parse_request(body))
    return header, parse_reply(body)


def encode(header: Header, value: Any) -> bytes:
    match value:
        case (cookie, request):
            return join(header, encode_request(request, cookie))
        case Retry():
            return join(header, encode_reply(value))
        case Hello() | Report() | Status():
            return join(header, encode_control(value))
    return join(header, bytes(value))


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
    data = path.read_bytes()
    with pytest.raises((PacketError, ControlError)):
        Opener(SECRET).open(split(data)[0], data) if "sealed" in path.stem else parse(data)


@pytest.mark.parametrize("name", SEALED)
def test_sealed_datagrams_open_to_what_was_sealed(name: str) -> None:
    data = (FOLDER / f"good_{name}.bin").read_bytes()
    header, _ = split(data)
    opener = Opener(SECRET)
    body, counter = opener.open(header, data)
    assert (header.connection_id, counter) == (0x01020304, header.counter)
    assert (MediaPacket.parse if header.kind is Kind.MEDIA else parse_control)(body) == SEALED[name]
    with pytest.raises(ReplayError):
        opener.open(header, data)


def test_a_bundle_is_read_and_written_as_it_is() -> None:
    header, body = split((FOLDER / "good_control_bundle.bin").read_bytes())
    messages = (GOOD["control_report"][1], Ok(12, 11))
    assert (header, parse_body(body)) == (Header(Kind.CONTROL, 0x01020304, 0), messages)
    assert encode_bundle(Bundle(messages, 80)) == body  # type: ignore[arg-type]
    for size in (49, 0):
        with pytest.raises(ValueError, match="do not fit"):
            encode_bundle(Bundle(messages, size))  # type: ignore[arg-type]
    assert parse_body(body[:43]) == messages[:1]
    for length in (*range(43), *range(44, 58)):
        with pytest.raises(ControlError):
            parse_body(body[:length])


def test_the_sealer_makes_the_same_bytes() -> None:
    sealer = Sealer(0x01020304, SECRET)
    sealer._counters |= {Kind.MEDIA: 5, Kind.CONTROL: 7}
    media, report = bytes(SEALED["sealed_media"]), encode_control(SEALED["sealed_control"])  # type: ignore[arg-type]
    assert sealer.seal(Kind.MEDIA, media, 0) == (FOLDER / "good_sealed_media.bin").read_bytes()
    assert sealer.seal(Kind.CONTROL, report, 0) == (FOLDER / "good_sealed_control.bin").read_bytes()
    later_ns = REKEY_AFTER_NS
    assert sealer.seal(Kind.MEDIA, media, later_ns) == (FOLDER / "good_sealed_media_next_key.bin").read_bytes()


def test_all_files_are_tested() -> None:
    assert {p.stem[5:] for p in FOLDER.glob("good_*.bin")} == {*GOOD, *SEALED, "control_bundle"}
    assert len(list(FOLDER.glob("bad_*.bin"))) == 58
