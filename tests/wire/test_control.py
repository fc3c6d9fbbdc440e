from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.test_packet import FEEDBACKS
from voicelink.errors import ControlError
from voicelink.wire import control, rendezvous
from voicelink.wire.control import (
    Answer,
    ControlMessage,
    End,
    Hello,
    Moved,
    Offer,
    Ok,
    Probe,
    Refuse,
    Report,
    Ringing,
    Status,
    encode_control,
    parse_control,
)
from voicelink.wire.packet import HEADER_BYTES, MAX_DATAGRAM_BYTES
from voicelink.wire.rendezvous import (
    REQUEST_BYTES,
    Closing,
    Denied,
    Invite,
    Join,
    Joined,
    Placed,
    Register,
    Registered,
    Release,
    Retry,
    Ring,
    Unregister,
    cookie_of,
    encode_reply,
    encode_request,
    padded,
    parse_reply,
    parse_request,
)
from voicelink.wire.schema import clip

U32 = st.integers(0, 0xFFFFFFFF)
ADDRESS = st.tuples(st.sampled_from(["192.0.2.1", "2001:db8::1"]), st.integers(1, 65535))


def texts(limit: int) -> st.SearchStrategy[str]:
    return st.text(max_size=limit).map(lambda t: clip(t, limit))


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    bits = sorted(draw(st.tuples(st.integers(1, 64), st.integers(1, 64))))
    low, mid, high = sorted(draw(st.tuples(*[st.integers(1, 8)] * 3)))
    models = tuple(draw(st.lists(texts(64), max_size=8)))
    return Offer(models, bits[0], bits[1], mid, low, high)


CANDIDATES = st.lists(ADDRESS, max_size=8).map(tuple)
CONTROL: st.SearchStrategy[ControlMessage] = st.one_of(
    st.builds(Hello, U32, texts(64), offers(), CANDIDATES),
    st.builds(Answer, U32, texts(64), offers(), CANDIDATES),
    st.builds(Ringing, U32, U32),
    st.builds(Refuse, U32, texts(32), texts(256)),
    st.builds(End, U32, texts(32), texts(256)),
    st.builds(Probe, U32),
    st.builds(Moved, U32, st.lists(ADDRESS, max_size=8).map(tuple)),
    st.builds(Ok, U32, U32),
    st.builds(Status, U32, *[st.booleans()] * 4, st.integers(0, 0xFFFF), st.integers(1, 64)),
    st.builds(Report, *[U32] * 10, st.none() | FEEDBACKS),
)
TICKET = st.binary(max_size=16)
KEY, PROOF, COOKIE = st.binary(max_size=32), st.binary(max_size=16), st.binary(min_size=16, max_size=16)
FROM_CLIENT = st.one_of(
    st.builds(Register, U32, texts(64), KEY, PROOF, st.binary(max_size=400)),
    st.builds(Unregister, U32, texts(64), KEY, PROOF),
    st.builds(Ring, U32, texts(64), st.binary(max_size=400)),
    st.builds(Release, U32, U32),
    st.builds(Join, U32, st.integers(1, 0xFFFFFFFF), st.integers(0, 1), TICKET, st.binary(max_size=400)),
)
FROM_SERVER = st.one_of(
    st.builds(Retry, U32, U32, COOKIE, KEY),
    st.builds(Registered, U32, U32, st.integers(1, 86_400), ADDRESS),
    st.builds(Placed, U32, U32, st.integers(1, 0xFFFFFFFF), ADDRESS),
    st.builds(Placed, U32, U32, st.integers(1, 0xFFFFFFFF), ADDRESS, TICKET, st.none() | ADDRESS),
    st.builds(Joined, U32, U32, ADDRESS),
    st.builds(Invite, U32, st.integers(1, 0xFFFFFFFF), TICKET, TICKET, ADDRESS),
    st.builds(Closing, U32, st.integers(1, 0xFFFFFFFF), st.integers(0, 86_400)),
    st.builds(Denied, U32, U32, texts(32), texts(256)),
)


@given(CONTROL)
def test_control_messages_are_read_as_written(message: ControlMessage) -> None:
    body = encode_control(message)
    assert parse_control(body) == message
    assert len(body) + HEADER_BYTES <= MAX_DATAGRAM_BYTES


@given(FROM_CLIENT, COOKIE)
def test_client_messages_are_read_as_written(message: Any, cookie: bytes) -> None:
    body = encode_request(message, cookie)
    assert parse_request(body) == message
    assert cookie_of(body) == cookie


@given(FROM_SERVER, FROM_CLIENT)
def test_server_messages_are_read_as_written_and_never_longer_than_a_request(reply: Any, request: Any) -> None:
    body = encode_reply(reply)
    assert parse_reply(body) == reply
    if isinstance(request, (Register, Ring)):
        asked = encode_request(padded(request), bytes(16))
        assert len(body) <= REQUEST_BYTES <= len(asked) <= REQUEST_BYTES + 2


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_control_error(data: bytes) -> None:
    for parse in (parse_control, parse_request, parse_reply):
        try:
            parse(data)
        except ControlError:
            continue


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(CONTROL, st.data())
def test_any_field_of_any_type_is_taken_or_a_control_error(message: ControlMessage, data: Any) -> None:
    if isinstance(message, Report):
        return  # is no map
    plain = msgpack.unpackb(encode_control(message))
    plain[data.draw(st.sampled_from(sorted(plain)))] = data.draw(PLAIN)
    try:
        taken = parse_control(msgpack.packb(plain))
    except ControlError:
        return
    assert parse_control(encode_control(taken)) == taken


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    body = msgpack.packb({"t": "probe", "id": 5, "colour": "red"})
    assert parse_control(body) == Probe(5)


@pytest.mark.parametrize("depth", [5, 100, 1100])
def test_deep_nesting_is_told(depth: int) -> None:
    body = bytes([0x82]) + msgpack.packb("t") + msgpack.packb("probe") + msgpack.packb("x")
    with pytest.raises(ControlError):
        parse_control(body + b"\x91" * depth + b"\x01")


def test_errors_say_which_field() -> None:
    with pytest.raises(ControlError, match=r"ok\.to: not a whole number in 0\.\.4294967295"):
        parse_control(msgpack.packb({"t": "ok", "id": 1, "to": -1}))
    with pytest.raises(ControlError, match="ok without to"):
        parse_control(msgpack.packb({"t": "ok", "id": 1}))


@given(st.text(), st.integers(0, 64))
def test_clipped_text_always_fits(text: str, limit: int) -> None:
    short = clip(text, limit)
    assert len(short.encode()) <= limit
    assert short.isprintable()
    assert clip(short, limit) == short


def test_a_client_message_is_no_control_message() -> None:
    assert set(control._CLASSES) & set(rendezvous._FROM_CLIENT) == set()
    assert set(rendezvous._FROM_SERVER) & set(rendezvous._FROM_CLIENT) == set()


@pytest.mark.parametrize(
    "host", ["evil.example", "", "1", "127.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1%eth0", "x\x00y"]
)
def test_an_address_is_an_ip_address_of_one_machine(host: str) -> None:
    """Anything else might be looked up, or sent to many, when a datagram goes there."""
    hello = Hello(1, "eve", Offer(("m",), 8, 64, 2, 1, 8), ((host, 5),))
    with pytest.raises(ControlError, match=r"hello\.candidates: (host is|not printable)"):
        parse_control(encode_control(hello))
