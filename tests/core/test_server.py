"""Directory, relay and switchboard: what a client may get out of them, and what nobody may."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import SERVER, A, B, World, seeded_entropy
from voicelink.core import events as ev
from voicelink.core.relay import MAX_DATAGRAMS_PER_S, Relay
from voicelink.core.switchboard import Switchboard
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
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
    encode_rendezvous,
    padded,
    parse_server_message,
)

C: Address = ("192.0.2.66", 6)


def keyed_hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, key=b"secret").digest()


def token(source: Address) -> bytes:
    """The same for neighbouring addresses."""
    return source[0].encode()[:8]


class Client:
    """Says single messages to a switchboard, from any address, with the cookie once it has one."""

    def __init__(self, **settings: int) -> None:
        self.machine = Switchboard(ServerSettings(**settings), entropy=seeded_entropy(1), mac=keyed_hash)
        self.now_ns = 5 * NS_PER_S
        self.cookies: dict[Address, bytes] = {}
        self.ids = 0

    def raw(self, message: ClientMessage, source: Address) -> list[tuple[ServerMessage, Address]]:
        self.machine.handle_datagram(join(Header(Kind.SERVER, 0, 0), encode_rendezvous(message)), source, self.now_ns)
        out = self.machine.datagrams_to_send(self.now_ns)
        return [(parse_server_message(split(data)[1]), to) for data, to in out]

    def ask(self, make: type[Register] | type[Ring], name: str, source: Address) -> ServerMessage:
        for _ in range(2):
            self.ids += 1
            extra = (token(source),) if make is Register else ()
            request = padded(make(self.ids, name, *extra, self.cookies.get(source, b""), b""))
            ((reply, to),) = self.raw(request, source)
            assert to == source
            assert reply.to == request.id
            if not isinstance(reply, Retry):
                break
            self.cookies[source] = reply.cookie
        return reply


def test_no_state_before_a_cookie_was_shown() -> None:
    client = Client()
    for i in range(100):
        ((reply, _),) = client.raw(padded(Register(i, f"n{i}", b"t" * 8, b"", b"")), (f"192.0.2.{i}", 9))
        assert isinstance(reply, Retry)
    assert len(client.machine.directory) == 0


def test_a_cookie_is_good_at_its_address_only_and_not_for_ever() -> None:
    client = Client()
    assert isinstance(client.ask(Register, "bob", B), Registered)
    stolen = padded(Register(9, "eve", b"e" * 8, client.cookies[B], b""))
    assert isinstance(client.raw(stolen, C)[0][0], Retry)
    client.now_ns += 180 * NS_PER_S
    assert isinstance(client.raw(padded(Register(10, "bob", b"e" * 8, client.cookies[B], b"")), B)[0][0], Retry)


def test_nothing_answers_a_request_shorter_than_the_reply() -> None:
    client = Client()
    assert client.raw(Ring(1, "bob", b"", b""), B) == []


def test_register_ring_and_relay() -> None:
    client = Client()
    registered = client.ask(Register, "bob", B)
    assert isinstance(registered, Registered)
    assert (registered.you, registered.lifetime_s) == (B, 60)
    placed = client.ask(Ring, "bob", A)
    assert isinstance(placed, Placed)
    data = join(Header(Kind.MEDIA, placed.call, 7), b"anything")
    for source, to in ((A, B), (B, A)):
        client.machine.handle_datagram(data, source, client.now_ns)
        assert client.machine.datagrams_to_send(client.now_ns) == [(data, to)]
    client.machine.handle_datagram(data, C, client.now_ns)
    client.machine.handle_datagram(join(Header(Kind.MEDIA, placed.call ^ 1, 7), b"x"), A, client.now_ns)
    assert client.machine.datagrams_to_send(client.now_ns) == []
    assert client.machine.relay.counts.dropped_stranger == 2


def test_the_same_ring_again_is_the_same_call() -> None:
    client = Client()
    client.ask(Register, "bob", B)
    first = client.ask(Ring, "bob", A)
    assert isinstance(first, Placed)
    again = client.raw(padded(Ring(client.ids, "bob", client.cookies[A], b"")), A)[0][0]
    assert isinstance(again, Placed)
    assert again.call == first.call
    assert len(client.machine.relay) == 1
    client.raw(Release(0, first.call), C)
    assert len(client.machine.relay) == 1
    client.raw(Release(0, first.call), B)
    assert len(client.machine.relay) == 0


def test_denials() -> None:
    client = Client(max_registrations=1, max_calls=1)
    assert client.ask(Ring, "bob", A) == Denied(0, client.ids, "offline", "bob is not registered here")
    client.ask(Register, "bob", B)
    full = client.ask(Register, "carol", C)
    assert isinstance(full, Denied)
    assert "as many names as it may" in full.detail
    used = client.ask(Register, "bob", ("2001:db8::7", 7))
    assert isinstance(used, Denied)
    assert used.detail == "the name bob is in use; take another, or try again in 60 s if it was yours"
    itself = client.ask(Ring, "bob", B)
    assert isinstance(itself, Denied)
    assert isinstance(client.ask(Ring, "bob", A), Placed)
    busy = client.ask(Ring, "bob", C)
    assert isinstance(busy, Denied)
    assert "as many calls as it may" in busy.detail
    assert client.machine.directory.counts.denied == 5


def test_the_token_moves_a_name_to_a_new_address_and_gives_it_up() -> None:
    client = Client()
    client.ask(Register, "bob", B)
    moved = ("203.0.113.3", 8)
    assert isinstance(client.ask(Register, "bob", moved), Registered)
    client.raw(Unregister(0, "bob", b"wrong..."), B)
    assert len(client.machine.directory) == 1
    client.raw(Unregister(0, "bob", token(B)), B)
    assert len(client.machine.directory) == 0


def test_a_client_that_starts_anew_at_its_address_gets_its_name_again() -> None:
    client = Client()
    client.ask(Register, "bob", B)
    again = padded(Register(50, "bob", b"newtoken", client.cookies[B], b""))
    assert isinstance(client.raw(again, B)[0][0], Registered)
    client.raw(Unregister(0, "bob", token(B)), B)
    assert len(client.machine.directory) == 1
    client.raw(Unregister(0, "bob", b"newtoken"), B)
    assert len(client.machine.directory) == 0


def test_names_and_calls_expire() -> None:
    client = Client(registration_lifetime_s=10, call_idle_s=20)
    client.ask(Register, "bob", B)
    placed = client.ask(Ring, "bob", A)
    assert isinstance(placed, Placed)
    seen = []
    while (due_ns := client.machine.next_timer_ns()) is not None:
        client.now_ns = due_ns
        client.machine.handle_timer(due_ns)
        seen.append((len(client.machine.directory), len(client.machine.relay)))
    assert seen[0] == (1, 1)
    assert (0, 1) in seen
    assert seen[-1] == (0, 0)


def test_one_call_cannot_take_the_whole_relay() -> None:
    relay = Relay(10, NS_PER_S, seeded_entropy(3))
    call = relay.bind(A, B, 1, 0)
    assert call is not None
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
