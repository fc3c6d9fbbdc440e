"""Directory, relay and switchboard: what a client may get out of them, and what nobody may."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import SERVER, A, B, World, seeded_entropy
from voicelink.core import events as ev
from voicelink.core.directory import MAX_NAMES_OF_SOURCE
from voicelink.core.relay import MAX_DATAGRAMS_PER_S, Relay
from voicelink.core.rooms import MAX_CALLS_OF_SOURCE
from voicelink.core.switchboard import Switchboard
from voicelink.secure.identity import Identity
from voicelink.secure.possession import claim, prove
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join, split
from voicelink.wire.rendezvous import (
    ClientMessage,
    Denied,
    Placed,
    Register,
    Registered,
    Release,
    Retry,
    Ring,
    ServerMessage,
    Unregister,
    encode_request,
    padded,
    parse_reply,
)

C: Address = ("192.0.2.66", 6)
BOB, EVE = Identity(b"b" * 32), Identity(b"e" * 32)


class Client:
    """Says single messages to a switchboard, from any address, with cookie and proof once it has them."""

    def __init__(self, **settings: int) -> None:
        self.machine = Switchboard(ServerSettings(**settings), entropy=seeded_entropy(1))
        self.now_ns = 5 * NS_PER_S
        self.cookies: dict[Address, bytes] = {}
        self.server_key = b""
        self.ids = 0

    def raw(
        self, message: ClientMessage, source: Address, cookie: bytes = NO_COOKIE
    ) -> list[tuple[ServerMessage, Address]]:
        data = join(Header(Kind.SERVER, message.id, 0), encode_request(message, cookie))
        self.machine.handle_datagram(data, source, self.now_ns)
        out = self.machine.datagrams_to_send(self.now_ns)
        assert sum(len(d) for d, _ in out) <= len(data)
        return [(parse_reply(split(data)[1]), to) for data, to in out]

    def prove(self, source: Address) -> None:
        """Get a cookie for `source`."""
        ((retry, _),) = self.raw(padded(Ring(1, "", b"")), source)
        assert isinstance(retry, Retry)
        self.cookies[source], self.server_key = retry.cookie, retry.key

    def claim(self, make: type[Register] | type[Unregister], name: str, source: Address, who: Identity) -> Any:
        self.ids += 1
        request = claim(make.__name__.lower(), name, self.ids, self.cookies[source])
        pad = (b"",) if make is Register else ()
        return make(self.ids, name, who.public, prove(who, self.server_key, request), *pad)

    def register(self, name: str, source: Address, who: Identity = BOB) -> ServerMessage:
        self.prove(source)
        return self.raw(padded(self.claim(Register, name, source, who)), source, self.cookies[source])[0][0]

    def unregister(self, name: str, source: Address, who: Identity = BOB) -> None:
        self.prove(source)
        assert self.raw(self.claim(Unregister, name, source, who), source, self.cookies[source]) == []

    def ring(self, name: str, source: Address) -> ServerMessage:
        self.prove(source)
        self.ids += 1
        return self.raw(padded(Ring(self.ids, name, b"")), source, self.cookies[source])[0][0]


def test_no_state_before_a_cookie_was_shown() -> None:
    client = Client()
    for i in range(100):
        request = padded(Register(i, f"n{i}", BOB.public, b"p" * 16, b""))
        ((reply, _),) = client.raw(request, (f"192.0.2.{i}", 9))
        assert isinstance(reply, Retry)
        assert reply.to == i
    assert client.machine.directory.names_kept == len(client.machine._sources) == len(client.machine.rooms) == 0
    assert client.machine.next_timer_ns() is None


def test_a_cookie_is_good_at_its_address_only_and_not_for_ever() -> None:
    client = Client()
    assert isinstance(client.register("bob", B), Registered)
    ring = padded(Ring(9, "bob", b""))
    for source in (C, (B[0], B[1] + 1)):
        assert isinstance(client.raw(ring, source, client.cookies[B])[0][0], Retry)
    assert isinstance(client.raw(ring, B, client.cookies[B])[0][0], Denied)
    client.now_ns += 60 * NS_PER_S
    assert isinstance(client.raw(ring, B, client.cookies[B])[0][0], Denied)
    client.now_ns += 60 * NS_PER_S
    assert isinstance(client.raw(ring, B, client.cookies[B])[0][0], Retry)


def test_nothing_answers_a_request_shorter_than_the_reply() -> None:
    client = Client()
    assert client.raw(Ring(1, "bob", b""), B) == []


def test_no_request_is_amplified() -> None:
    """Every request there is, and the relayed kinds, from an address that has shown nothing."""
    factors = {}
    requests: list[ClientMessage] = [
        padded(Register(1, "x" * 64, BOB.public, bytes(16), b"")), padded(Ring(2, "x" * 64, b"")),
        Register(3, "", b"", b"", b""), Ring(4, "", b""), Unregister(5, "bob", BOB.public, bytes(16)), Release(6, 7),
    ]  # fmt: skip
    for number, request in enumerate(requests):
        for cookie in (NO_COOKIE, bytes(range(16))):
            client = Client()
            data = join(Header(Kind.SERVER, request.id, 0), encode_request(request, cookie))
            client.machine.handle_datagram(data, C, client.now_ns)
            out = sum(len(d) for d, _ in client.machine.datagrams_to_send(client.now_ns))
            factors[f"{type(request).__name__} {number}"] = out / len(data)
    for kind in (Kind.MEDIA, Kind.CONTROL, Kind.HANDSHAKE):
        client = Client()
        client.machine.handle_datagram(join(Header(kind, 7, 0), bytes(100)), C, client.now_ns)
        factors[kind.name] = float(len(client.machine.datagrams_to_send(client.now_ns)))
    print("bytes out over bytes in:", {k: round(v, 2) for k, v in factors.items()})  # noqa: T201 (shown with -s)
    assert max(factors.values()) <= 1.0
    assert factors["Register 0"] > 0


def test_register_ring_and_relay() -> None:
    client = Client()
    registered = client.register("bob", B)
    assert isinstance(registered, Registered)
    assert (registered.you, registered.lifetime_s) == (B, 60)
    placed = client.ring("bob", A)
    assert isinstance(placed, Placed)
    for kind in (Kind.MEDIA, Kind.CONTROL, Kind.HANDSHAKE):
        data = join(Header(kind, placed.call, 7), b"anything")
        for source, to in ((A, B), (B, A)):
            client.machine.handle_datagram(data, source, client.now_ns)
            assert client.machine.datagrams_to_send(client.now_ns) == [(data, to)]
    client.machine.handle_datagram(data, C, client.now_ns)
    client.machine.handle_datagram(join(Header(Kind.MEDIA, placed.call ^ 1, 7), b"x"), A, client.now_ns)
    assert client.machine.datagrams_to_send(client.now_ns) == []
    assert client.machine.relay.counts.dropped_stranger == 2


def test_the_same_ring_again_is_the_same_call() -> None:
    client = Client()
    client.register("bob", B)
    first = client.ring("bob", A)
    assert isinstance(first, Placed)
    again = client.raw(padded(Ring(client.ids, "bob", b"")), A, client.cookies[A])[0][0]
    assert isinstance(again, Placed)
    assert again.call == first.call
    assert len(client.machine.rooms) == 1
    client.prove(C)
    client.raw(Release(0, first.call), C, client.cookies[C])
    client.raw(Release(0, first.call), B, NO_COOKIE)  # perhaps not from there at all
    assert len(client.machine.rooms) == 1
    client.raw(Release(0, first.call), B, client.cookies[B])
    assert len(client.machine.rooms) == 0


def test_denials() -> None:
    client = Client(max_registrations=1, max_calls=1)
    assert client.ring("bob", A) == Denied(0, client.ids, "offline", "bob is not registered here")
    client.register("bob", B)
    full = client.register("carol", C, EVE)
    assert isinstance(full, Denied)
    assert "as many names as it may" in full.detail
    used = client.register("bob", ("2001:db8::7", 7), EVE)
    assert isinstance(used, Denied)
    assert used.detail == "the name bob belongs to another key; take another name"
    assert isinstance(client.register("", B), Denied)
    itself = client.ring("bob", B)
    assert isinstance(itself, Denied)
    assert isinstance(client.ring("bob", A), Placed)
    busy = client.ring("bob", C)
    assert isinstance(busy, Denied)
    assert "as many calls as it may" in busy.detail
    assert client.machine.directory.counts.denied == 6


def test_a_name_is_only_for_who_proves_to_hold_the_key() -> None:
    client = Client()
    client.prove(B)
    for request in (
        Register(1, "bob", BOB.public, b"", b""),
        Register(2, "bob", BOB.public, bytes(16), b""),
        replace(client.claim(Register, "bob", B, EVE), key=BOB.public),
        replace(client.claim(Register, "bob", B, BOB), name="alice"),
        Register(3, "bob", bytes(32), bytes(16), b""),  # a point of low order
        Register(4, "bob", b"short", bytes(16), b""),
    ):
        denied = client.raw(padded(request), B, client.cookies[B])[0][0]
        assert isinstance(denied, Denied)
        assert "does not hold the key" in denied.detail
    assert client.machine.directory.names_kept == 0
    proven = client.claim(Register, "bob", B, BOB)
    client.prove(C)
    stolen = client.raw(padded(proven), C, client.cookies[C])[0][0]
    assert isinstance(stolen, Denied)  # the proof holds for the cookie, and so for the address, that it was made with
    assert isinstance(client.raw(padded(proven), B, client.cookies[B])[0][0], Registered)


def test_a_name_follows_its_key_to_a_new_address_and_is_given_up_by_it() -> None:
    client = Client()
    client.register("bob", B)
    moved = ("203.0.113.3", 8)
    assert isinstance(client.register("bob", moved), Registered)
    assert client.machine.directory._by_source == {"203.0.113.3": 1}
    client.unregister("bob", B, EVE)
    assert len(client.machine.directory) == 1
    client.unregister("bob", B)
    assert len(client.machine.directory) == 0


def test_an_old_goodbye_sent_once_more_does_nothing() -> None:
    client = Client()
    client.register("bob", B)
    goodbye = client.claim(Unregister, "bob", B, BOB)
    client.raw(goodbye, B, client.cookies[B])
    assert len(client.machine.directory) == 0
    client.register("bob", B)
    client.raw(goodbye, B, client.cookies[B])
    assert len(client.machine.directory) == 1


def test_a_name_stays_its_owners_while_away_and_makes_room_where_there_is_none() -> None:
    client = Client(registration_lifetime_s=10, name_hold_s=1000, max_registrations=2)
    client.register("bob", B)
    client.unregister("bob", B)
    assert isinstance(client.register("bob", C, EVE), Denied)
    client.now_ns += 500 * NS_PER_S
    client.machine.handle_timer(client.now_ns)
    assert isinstance(client.register("bob", C, EVE), Denied)
    client.register("eve", C, EVE)
    assert client.machine.directory.names_kept == 2
    assert isinstance(client.register("mallory", C, EVE), Registered)  # in place of bob, who is away for the longest
    assert isinstance(client.register("bob", B), Denied)
    client.now_ns += 2000 * NS_PER_S
    for _ in range(2):
        client.machine.handle_timer(client.now_ns)
        client.now_ns += 2 * NS_PER_S
    assert client.machine.directory.names_kept == 0


def test_one_address_cannot_take_all_names_or_all_calls() -> None:
    client = Client(requests_per_s=100_000)
    for i in range(MAX_NAMES_OF_SOURCE):
        assert isinstance(client.register(f"n{i}", (B[0], 1000 + i)), Registered)
    denied = client.register("more", (B[0], 5000))
    assert isinstance(denied, Denied)
    assert "from yours" in denied.detail
    assert isinstance(client.register("n3", (B[0], 5001)), Registered)
    for _ in range(MAX_CALLS_OF_SOURCE):
        assert isinstance(client.ring("n1", A), Placed)
    assert isinstance(client.ring("n1", A), Denied)
    assert isinstance(client.ring("n1", C), Placed)


def test_an_address_over_its_rate_waits() -> None:
    client = Client(requests_per_s=5)
    client.prove(B)
    ring = padded(Ring(9, "bob", b""))
    answered = sum(len(client.raw(ring, (B[0], B[1]), client.cookies[B])) for _ in range(50))
    assert answered == 10
    assert client.machine.dropped_requests == 40
    client.now_ns += NS_PER_S
    assert sum(len(client.raw(ring, B, client.cookies[B])) for _ in range(50)) == 5


def test_strangers_have_one_rate_in_all_and_those_who_proved_themselves_pass() -> None:
    client = Client(strangers_per_s=100)
    client.prove(B)
    answered = sum(len(client.raw(padded(Ring(i, "x", b"")), (f"192.0.2.{i % 250}", i))) for i in range(1000))
    assert answered == 199
    assert client.machine.dropped_strangers == 801
    assert isinstance(client.raw(padded(Ring(9, "bob", b"")), B, client.cookies[B])[0][0], Denied)


def test_names_and_calls_expire() -> None:
    client = Client(registration_lifetime_s=10, call_idle_s=20, name_hold_s=100)
    client.register("bob", B)
    placed = client.ring("bob", A)
    assert isinstance(placed, Placed)
    seen = []
    while (due_ns := client.machine.next_timer_ns()) is not None:
        client.now_ns = due_ns
        client.machine.handle_timer(due_ns)
        seen.append((len(client.machine.directory), len(client.machine.rooms)))
    assert seen[0] == (1, 1)
    assert (0, 1) in seen
    assert seen[-1] == (0, 0)


def test_one_call_cannot_take_the_whole_relay() -> None:
    relay, call = Relay(ServerSettings()), 7
    relay.bind(call, (A, B), b"", 0)
    passed = sum(relay.forward(call, A, 50, 5) == B for _ in range(3 * MAX_DATAGRAMS_PER_S))
    assert passed == MAX_DATAGRAMS_PER_S
    assert relay.forward(call, A, 50, 5 + NS_PER_S) == B


@given(st.lists(st.tuples(st.binary(max_size=80), st.sampled_from([A, B, C])), max_size=20))
def test_any_bytes_leave_the_server_standing(datagrams: list[tuple[bytes, Address]]) -> None:
    machine = Client().machine
    for data, source in datagrams:
        machine.handle_datagram(data, source, 1)
    assert machine.datagrams_to_send(1) == []
    assert machine.datagrams_received == len(datagrams)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_datagrams_leave_sessions_and_server_standing(seed: int) -> None:
    """Everything that a whole call sends, with bytes flipped, cut and repeated, to everybody."""
    world, rng = World(), random.Random(seed)
    world.session(A, name="alice")
    world.session(B, name="bob")
    world.server()
    said: list[bytes] = []
    machines = world.machines
    for machine in machines.values():
        original = machine.datagrams_to_send

        def spy(now_ns: int, original=original) -> list[tuple[bytes, Address]]:  # type: ignore[no-untyped-def]
            out = original(now_ns)
            said.extend(data for data, _ in out)
            return out

        machine.datagrams_to_send = spy  # type: ignore[method-assign]
    world.connect(relayed=True)
    world.talk(A, B, 1.0)
    for _ in range(2000):
        data = bytearray(rng.choice(said))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        machine = rng.choice(list(machines.values()))
        machine.handle_datagram(
            bytes(data[: rng.randint(0, 2 * len(data))]), rng.choice([A, B, C, SERVER]), world.now_ns
        )
    world.run_ms(5000)
    assert isinstance(world.events[A][0], ev.PeerRinging)
    assert world.machines[A].stats.packets_invalid > 0
