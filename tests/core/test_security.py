"""What a call promises against those who sit on its way: docs/security.md points here."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.world import SERVER, A, B, World, frame
from voicelink.core import events as ev
from voicelink.core.events import EndReason
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.secure.identity import Credentials, Identity, Trust
from voicelink.secure.null import UNPROTECTED
from voicelink.secure.seal import LAST_COUNTER, REKEY_AFTER_NS
from voicelink.settings import Address
from voicelink.units import NS_PER_S
from voicelink.wire.handshake import INIT_BYTES, Cookie, Refusal, RefusalCode, parse_handshake
from voicelink.wire.packet import HEADER_BYTES, Kind, is_media, split

PSK, OTHER_PSK = bytes(range(32)), bytes(range(1, 33))
KEYS = {name: Identity(name.encode().ljust(32, b".")) for name in ("alice", "bob", "eve")}
NAMES = (b"alice", b"bob", b"model-x", b"hello", b"report", b"offer", b"bits_min", b"probe", b"192.0.2.1")


def who(name: str, psk: bytes | None = None, known: dict[str, str] | None = None) -> Credentials:
    return Credentials(KEYS[name], psk, {label: KEYS[key].public for label, key in (known or {}).items()})


def pair(caller: Credentials | None = None, callee: Credentials | None = None) -> World:
    world = World()
    world.session(A, name="alice", credentials=caller)
    world.session(B, name="bob", credentials=callee)
    return world


def outcome(world: World) -> tuple[ev.Ended, float]:
    """How the call that A places to B ends, and after how many seconds."""
    start_ns = world.now_ns
    world.machines[B].listen(world.now_ns)
    world.machines[A].call(B, world.now_ns)
    ended = world.run_until(A, ev.Ended)
    assert isinstance(ended, ev.Ended)
    return ended, (world.now_ns - start_ns) / NS_PER_S


def missed(world: World) -> list[ev.CallMissed]:
    return [e for e in world.events[B] if isinstance(e, ev.CallMissed)]


def body_of(data: bytes, kind: int) -> bytearray | None:
    """The body of a handshake message of this type."""
    if data[0] >> 4 & 7 == Kind.HANDSHAKE and data[HEADER_BYTES] == kind:
        return bytearray(data)
    return None


# ---- who is there --------------------------------------------------------------------------------
def test_both_ends_see_the_same_words_and_each_others_key() -> None:
    world = pair(who("alice"), who("bob"))
    world.connect()
    seen = {a: next(e.security for e in world.events[a] if isinstance(e, ev.Connected)) for a in (A, B)}
    assert seen[A].words == seen[B].words
    assert len(seen[A].words) == 4
    assert (seen[A].peer_public, seen[B].peer_public) == (KEYS["bob"].public, KEYS["alice"].public)
    assert (seen[A].label, seen[A].trust, seen[A].passphrase) == ("203.0.113.2:2002", Trust.NEW, False)
    assert (seen[B].label, seen[B].trust) == ("alice", Trust.NEW)


def test_keys_are_remembered_by_name_and_server() -> None:
    known = {"bob@198.51.100.1:47600": "bob", "alice@198.51.100.1:47600": "alice"}
    world = pair(who("alice", PSK, known), who("bob", PSK, known))
    world.server()
    world.connect(relayed=True)
    for address in (A, B):
        (security,) = [e.security for e in world.events[address] if isinstance(e, ev.Connected)]
        assert security.trust is Trust.KNOWN
        assert security.passphrase


def test_a_caller_without_a_name_has_no_known_key() -> None:
    world = pair()
    world.machines[A] = world.session(A, name="", credentials=who("alice"))
    world.connect()
    incoming = next(e for e in world.events[B] if isinstance(e, ev.IncomingCall))
    assert (incoming.security.label, incoming.security.trust) == ("", Trust.UNNAMED)


# ---- refusals: within two seconds, with a plain reason -------------------------------------------
@pytest.mark.parametrize(
    ("caller", "callee", "says"),
    [
        (PSK, OTHER_PSK, "the callee has another passphrase"),
        (PSK, None, "we use a passphrase and the callee has none"),
        (None, PSK, "the callee wants a passphrase"),
    ],
)
def test_passphrases_that_differ(caller: bytes | None, callee: bytes | None, says: str) -> None:
    world = pair(who("alice", caller), who("bob", callee))
    ended, seconds = outcome(world)
    assert (ended.reason, ended.by_peer, seconds < 2) == (EndReason.PASSPHRASE, True, True)
    assert says in ended.detail
    assert world.machines[B].state is State.LISTENING
    assert not any(isinstance(e, ev.IncomingCall) for e in world.events[B])
    if caller and callee:
        assert [m.reason for m in missed(world)] == [EndReason.PASSPHRASE]


def test_a_callee_with_another_key_than_known() -> None:
    world = pair(who("alice", None, {"203.0.113.2:2002": "bob"}), who("eve"))
    ended, seconds = outcome(world)
    assert (ended.reason, ended.by_peer, seconds < 2) == (EndReason.KEY, False, True)
    assert ended.detail.startswith("THE KEY OF 203.0.113.2:2002 HAS CHANGED to ")
    sent = [parse_handshake(split(d)[1]) for d, source, _ in world.capture if source == A]
    assert all(len(bytes(m)) == INIT_BYTES for m in sent)  # neither our key nor the hello left us


def test_a_caller_with_another_key_than_known() -> None:
    world = pair(who("eve"), who("bob", None, {"alice": "alice"}))
    ended, seconds = outcome(world)
    assert (ended.reason, ended.by_peer, seconds < 2) == (EndReason.KEY, True, True)
    assert ended.detail == "the callee knows another key of alice"
    (told,) = missed(world)
    assert told.reason is EndReason.KEY
    assert "THE KEY OF alice HAS CHANGED" in told.detail
    assert world.machines[B].state is State.LISTENING


@pytest.mark.parametrize("version", [1, 2, 15])
def test_another_version_asked_of_the_callee(version: int) -> None:
    """By somebody on the way, or by a caller who does speak it."""
    world = pair()

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        return [bytes([data[0] & 0xF0 | version]) + data[1:] if body_of(data, 1) else data]

    world.alter = alter
    ended, seconds = outcome(world)
    assert (ended.reason, ended.by_peer, seconds < 2) == (EndReason.VERSION, True, True)
    assert "another version" in ended.detail


def test_a_callee_of_another_version() -> None:
    world = pair()

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        init = body_of(data, 1)
        if init is None:
            return [data]
        refusal = Refusal(RefusalCode.VERSION, parse_handshake(bytes(init[HEADER_BYTES:])).echo)  # type: ignore[union-attr]
        answer = bytes([data[0] & 0xF0 | 7]) + data[1:HEADER_BYTES] + bytes(refusal)
        world.at(world.now_ns + 1000, lambda: world.machines[A].handle_datagram(answer, B, world.now_ns))
        return []

    world.alter = alter
    ended, _ = outcome(world)
    assert ended.detail == "the callee speaks version 7 of the protocol, this is version 3"


def tampering(kind: int, at: int) -> Callable[[bytes, Address, Address], list[bytes]]:
    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        changed = body_of(data, kind)
        if changed is None:
            return [data]
        changed[at] ^= 1
        return [bytes(changed)]

    return alter


@pytest.mark.parametrize("psk", [None, PSK])
@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("at", [27, 40, 60, -1])
def test_a_handshake_changed_on_its_way(kind: int, at: int, psk: bytes | None) -> None:
    world = pair(who("alice", psk), who("bob", psk))
    world.alter = tampering(kind, at)
    ended, seconds = outcome(world)
    assert seconds < 2
    # The last part of Finish is under the passphrase: a change there looks like a wrong one.
    expected = {EndReason.TAMPERED} | ({EndReason.PASSPHRASE} if psk and kind == 3 else set())
    assert ended.reason in expected
    assert not any(isinstance(e, ev.IncomingCall) for e in world.events[B])


@pytest.mark.parametrize("pattern", [0, 1])
def test_the_passphrase_cannot_be_taken_out_on_the_way(pattern: int) -> None:
    psk = PSK if pattern == 0 else None
    world = pair(who("alice", psk), who("bob", psk))

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        init = body_of(data, 1)
        if init is None:
            return [data]
        init[HEADER_BYTES + 1] = pattern
        return [bytes(init)]

    world.alter = alter
    ended, seconds = outcome(world)
    assert (ended.reason, seconds < 2) == (EndReason.PASSPHRASE, True)


def test_our_own_handshake_reflected() -> None:
    world = pair()
    world.alter = lambda data, source, to: (
        world.at(  # type: ignore[assignment, return-value]
            world.now_ns + 1000, lambda: world.machines[source].handle_datagram(data, to, world.now_ns)
        )
        or []
    )
    ended, seconds = outcome(world)
    assert (ended.reason, seconds < 2) == (EndReason.UNREACHABLE, True)
    assert "call itself" in ended.detail


@pytest.mark.parametrize("seen_as", [2, 3])
def test_our_first_message_reflected_as_another(seen_as: int) -> None:
    world = pair()

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        size = {2: HEADER_BYTES + 97, 3: len(data)}[seen_as]
        answer = data[:HEADER_BYTES] + bytes([seen_as]) + data[HEADER_BYTES + 1 : size]
        world.at(world.now_ns + 1000, lambda: world.machines[source].handle_datagram(answer, to, world.now_ns))
        return []

    world.alter = alter
    ended, seconds = outcome(world)
    assert (ended.reason, seconds < 2) == (EndReason.TAMPERED, True)


def test_messages_of_another_handshake_put_in_place() -> None:
    """Reordered: the callee's reply to an earlier call, and the caller's last message of one."""
    for kind in (2, 3):
        old = pair(who("alice"), who("bob"))
        old.connect()
        kept = next(d for d, _, _ in old.capture if body_of(d, kind))
        world = pair(who("alice"), who("bob"))
        world.session(A, name="alice", credentials=who("alice"), seed=5)

        def alter(data: bytes, source: Address, to: Address, kind: int = kind, kept: bytes = kept) -> list[bytes]:
            return [data[:HEADER_BYTES] + kept[HEADER_BYTES:] if body_of(data, kind) else data]

        world.alter = alter
        ended, seconds = outcome(world)
        assert (ended.reason, seconds < 2) == (EndReason.TAMPERED, True)


def test_handshake_messages_that_overtake_each_other_do_no_harm() -> None:
    world = pair()
    world.link.jitter_ms, world.link.duplicate = 150.0, 0.5
    world.connect()
    assert world.machines[A].state is State.CONNECTED


def test_a_forger_off_the_path_spoils_nothing() -> None:
    """False replies, cookies and refusals beside the true ones."""
    world = pair(who("alice", PSK), who("bob", PSK))
    rng = random.Random(1)

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        if data[0] >> 4 & 7 != Kind.HANDSHAKE or len(world.capture) > 12:  # false ones get replies, which come here too
            return [data]
        bodies = [bytes([2]) + rng.randbytes(96), bytes([3]) + rng.randbytes(200), bytes([1, 1]) + rng.randbytes(98)]
        bodies += [bytes([5, code]) + rng.randbytes(16) for code in RefusalCode]
        bodies += [bytes(Cookie(rng.randbytes(16), rng.randbytes(16)))]
        false = [data[:HEADER_BYTES] + body for body in bodies]
        for machine in (world.machines[A], world.machines[B]):
            for one in false:
                world.at(world.now_ns, lambda m=machine, d=one: m.handle_datagram(d, B, world.now_ns))
        return [*false, data]

    world.alter = alter
    world.connect()
    assert world.machines[A].state is world.machines[B].state is State.CONNECTED


# ---- what a listener on the way sees -------------------------------------------------------------
def whole_call(**sessions: Any) -> World:
    world = World()
    world.server()
    world.session(A, name="alice", redundancy=1, credentials=who("alice"), **sessions)
    world.session(B, name="bob", redundancy=1, credentials=who("bob"), **sessions)
    world.connect(relayed=True)
    world.talk(A, B, 3.0)
    world.talk(B, A, 1.0)
    world.machines[A].end(world.now_ns)
    world.run_ms(1000)
    return world


def test_a_capture_holds_nothing_to_read_but_the_outer_header() -> None:
    world = whole_call()
    between = [(d, s, t) for d, s, t in world.capture if d[0] >> 4 & 7 != Kind.SERVER]
    assert len(between) > 200
    sent = {frame(i).payload for i in range(1, 300)}
    for data, _, _ in between:
        assert not any(name in data for name in NAMES)
        assert not any(payload in data for payload in sent)
    bodies = [d[HEADER_BYTES:] for d, _, _ in between if d[0] >> 4 & 7 in (Kind.MEDIA, Kind.CONTROL)]
    assert len(set(bodies)) > 0.9 * len(bodies) / 2  # relayed ones are seen twice
    bits = Counter(b for body in bodies for b in body)
    total = sum(bits.values())
    entropy_bits = -sum(n / total * math.log2(n / total) for n in bits.values())
    assert entropy_bits > 7.95


def test_the_server_sees_names_and_addresses_only() -> None:
    world = whole_call()
    at_server = [d for d, s, t in world.capture if SERVER in (s, t) and d[0] >> 4 & 7 != Kind.SERVER]
    assert at_server
    assert not any(name in data for data in at_server for name in NAMES)
    secrets = [m._signalling.link.secrets for a, m in world.machines.items() if a != SERVER]
    seen = b"".join(d for d, _, _ in world.capture)
    for secret in secrets:
        assert secret.send not in seen
        assert secret.receive not in seen
    for key in ("alice", "bob"):
        assert KEYS[key].private not in seen


def test_the_keys_of_two_calls_between_the_same_ends_differ() -> None:
    first, second = (pair(who("alice"), who("bob")) for _ in range(2))
    second.session(A, name="alice", credentials=who("alice"), seed=99)
    for world in (first, second):
        world.connect()
    one, two = (w.machines[A]._signalling.link.secrets for w in (first, second))  # type: ignore[union-attr]
    assert one is not None
    assert two is not None
    assert len({one.send, one.receive, two.send, two.receive}) == 4
    assert one.words != two.words


# ---- damage and repetition in a call -------------------------------------------------------------
def played(world: World) -> list[ev.PlayoutDecision]:
    return world.played[B]


def test_no_flipped_bit_of_a_media_packet_changes_what_is_played() -> None:
    """Exhaustively: every bit of one packet, header and tag included, turned over in a copy that comes first."""
    flips = 0

    def all_flips(data: bytes, source: Address, to: Address) -> list[bytes]:
        nonlocal flips
        if not is_media(data) or source != A or world.machines[A].stats.packets_sent != 6:  # type: ignore[union-attr]
            return [data]
        number = int.from_bytes(data, "big")
        damaged = [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]
        flips += len(damaged)
        return [*damaged, data]

    heard = []
    for damage in (False, True):
        world = pair()
        world.connect()
        if damage:
            world.alter = all_flips
        world.talk(A, B, 0.4)
        heard.append(played(world))
    stats = world.machines[B].stats  # type: ignore[union-attr]
    assert flips == 8 * (HEADER_BYTES + 4 + 8 + 8)
    assert stats.packets_invalid + stats.packets_unexpected + stats.packets_duplicated == flips
    assert (stats.packets_lost, stats.frames_concealed) == (0, 0)
    assert heard[0] == heard[1]
    assert sum(isinstance(d, ev.Play) for d in heard[1]) > 20


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_all_over_a_call_are_lost_packets_and_nothing_else(seed: int) -> None:
    """One datagram in ten is damaged: what is played is what a call has in which these are lost."""

    def call(lose: bool) -> tuple[list[ev.PlayoutDecision], int, int]:
        world, rng = pair(), random.Random(seed)
        world.connect()
        damaged = 0

        def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
            nonlocal damaged
            chance, at = rng.random(), rng.randrange(8 * len(data))
            if chance > 0.1:
                return [data]
            damaged += to == B
            copy = bytearray(data)
            copy[at // 8] ^= 1 << at % 8
            return [] if lose else [bytes(copy)]

        world.alter = alter
        world.talk(A, B, 12.0)
        stats = world.machines[B].stats  # type: ignore[union-attr]
        counted = stats.packets_invalid + stats.packets_unexpected + stats.packets_duplicated
        return played(world), counted, damaged

    heard, counted, damaged = call(lose=False)
    lost, not_counted, _ = call(lose=True)
    assert heard == lost
    assert (counted, not_counted) == (damaged, 0)
    assert damaged > 30


@pytest.mark.parametrize("relayed", [False, True])
def test_a_whole_call_replayed_changes_nothing(relayed: bool) -> None:
    """To ends in that call, to ends in a later one, and to one that listens."""
    world = pair(who("alice"), who("bob"))
    world.server()
    world.connect(relayed=relayed)
    world.talk(A, B, 2.0)
    world.run_ms(500)
    captured = list(world.capture)
    states = {a: (world.machines[a].state, world.machines[a].agreed) for a in (A, B)}  # type: ignore[union-attr]
    before = {a: (len(world.events[a]), world.machines[a].stats) for a in (A, B)}  # type: ignore[union-attr]
    paths = {a: world.machines[a]._signalling.link.paths.current for a in (A, B)}  # type: ignore[union-attr]
    for address in (A, B):
        machine = world.machines[address]
        assert isinstance(machine, Session)
        for data, source, to in captured:
            if (to == address and source != SERVER) or split(data)[0].kind is not Kind.SERVER:
                for claimed in (source, ("192.0.2.66", 6)):
                    machine.handle_datagram(data, claimed, world.now_ns)
        assert machine.datagrams_to_send(world.now_ns) == []
        after, (events, stats) = machine.stats, before[address]
        assert (machine.state, machine.agreed) == states[address]
        assert len(world.events[address]) == events
        assert machine.next_event() is None
        assert machine._signalling.link.paths.current == paths[address]
        assert after.packets_received == stats.packets_received
        assert after.packets_lost == stats.packets_lost
        assert after.frames_received == stats.frames_received
        assert after.packets_duplicated > stats.packets_duplicated


@pytest.mark.parametrize("state", ["listening", "in another call"])
def test_a_whole_call_replayed_to_a_later_session(state: str) -> None:
    old = pair(who("alice"), who("bob"))
    old.connect()
    old.talk(A, B, 2.0)
    old.machines[A].end(old.now_ns)
    old.run_ms(1000)
    world = pair(who("alice"), who("bob"))
    world.session(B, name="bob", credentials=who("bob"), seed=8)
    other = ("192.0.2.9", 9)
    if state == "listening":
        world.machines[B].listen(world.now_ns)
    else:
        world.session(other, name="carol", seed=9)
        world.connect(other, B)
    b = world.machines[B]
    assert isinstance(b, Session)
    was, events = b.state, len(world.events[B])
    for data, source, to in old.capture:
        if to == B:
            b.handle_datagram(data, source, world.now_ns)
    out = b.datagrams_to_send(world.now_ns)
    assert all(split(d)[0].kind is Kind.HANDSHAKE for d, _ in out)
    world.run_ms(500)
    new = [e for e in world.events[B][events:] if not isinstance(e, ev.PeerReport)]
    assert (b.state, new, b.stats.frames_received) == (was, [], 0)


# ---- keys in a long call -------------------------------------------------------------------------
def test_keys_change_in_a_long_call_on_a_bad_path_without_a_gap() -> None:
    world = pair()
    world.link.jitter_ms, world.link.loss = 60.0, 0.05
    world.connect()
    for _ in range(2):
        world.now_ns += REKEY_AFTER_NS - 8 * NS_PER_S
        for machine in world.machines.values():
            machine._signalling._heard_ns = world.now_ns  # type: ignore[union-attr]
        world.talk(A, B, 16.0, first=world.machines[A].stats.frames_sent)  # type: ignore[union-attr]
    a, b = world.machines[A], world.machines[B]
    assert isinstance(a, Session)
    assert isinstance(b, Session)
    assert a._signalling.link._sealer._epoch._number == b._signalling.link.opener._epoch._number == 2
    stats = b.stats
    assert stats.packets_invalid == 0
    assert stats.packets_received + stats.packets_lost >= a.stats.packets_sent - 2


def test_a_call_ends_before_its_counters_do() -> None:
    world = pair()
    world.connect()
    a = world.machines[A]
    assert isinstance(a, Session)
    for side, other in ((A, B), (B, A)):
        world.machines[side]._signalling.link.opener._expected[Kind.CONTROL] = LAST_COUNTER  # type: ignore[union-attr]
        del other
    a._signalling.link._sealer._counters[Kind.CONTROL] = LAST_COUNTER
    world.run_ms(4000)
    ended = world.run_until(A, ev.Ended)
    assert isinstance(ended, ev.Ended)
    assert "used up" in ended.detail


# ---- addresses -----------------------------------------------------------------------------------
MOVED: Address = ("192.0.2.77", 7777)


def move(world: World) -> None:
    """From now on A sends and is reached at MOVED."""
    a = world.machines.pop(A)
    world.machines[MOVED] = a
    world.events[MOVED], world.played[MOVED] = world.events[A], world.played[A]


def test_a_peer_that_moves_is_followed_after_a_challenge() -> None:
    world = pair()
    world.connect()
    world.talk(A, B, 1.0)
    move(world)
    world.talk(MOVED, B, 1.0, first=200)
    world.run_ms(500)
    changed = [e for e in world.events[B] if isinstance(e, ev.PathChanged)]
    assert changed == [ev.PathChanged(MOVED, False)]
    before = world.machines[MOVED].stats.packets_received  # type: ignore[union-attr]
    world.talk(B, MOVED, 1.0)
    assert world.machines[MOVED].stats.packets_received > before + 30  # type: ignore[union-attr]


def test_nobody_is_followed_to_an_address_that_does_not_answer() -> None:
    """A forwarder changes the source address of a copy that is faster than the original."""
    world = pair()
    world.connect()
    b = world.machines[B]
    assert isinstance(b, Session)

    def alter(data: bytes, source: Address, to: Address) -> list[bytes]:
        if source == A:
            b.handle_datagram(data, MOVED, world.now_ns)
        return [data]

    world.alter = alter
    world.talk(A, B, 3.0)
    assert not [e for e in world.events[B] if isinstance(e, ev.PathChanged)]
    assert b._signalling.link.paths.current == A
    assert b.stats.frames_concealed == 0
    to_moved = [d for d, s, to in world.capture if to == MOVED]
    assert len(to_moved) < 20  # challenges, a few


# ---- amplification -------------------------------------------------------------------------------
def test_a_session_sends_no_more_than_it_gets_from_an_address_that_has_not_answered() -> None:
    """Over every kind of datagram that a whole call holds, to sessions in every state."""
    calls = [whole_call()]
    calls.append(pair(who("alice", PSK), who("bob", PSK)))
    calls[1].connect()
    datagrams = [d for call in calls for d, _, _ in call.capture]
    for psk in (None, PSK):
        for start in (lambda s: s.listen(0), lambda s: s.call(B, 0), lambda s: s.listen(0, SERVER)):
            session = World().session(B, name="x", credentials=who("bob", psk))
            start(session)
            session.datagrams_to_send(0)
            got = sent = 0
            for i, data in enumerate(datagrams):
                session.handle_datagram(data, ("192.0.2.66", i), 0)
                out = sum(len(d) for d, _ in session.datagrams_to_send(0))
                assert out <= len(data)
                got, sent = got + len(data), sent + out
            assert sent <= got


def test_a_flood_of_callers_gets_cookies_and_leaves_the_door_open() -> None:
    world = pair()
    b = world.machines[B]
    assert isinstance(b, Session)
    b.listen(world.now_ns)
    for i in range(200):
        caller = World().session((f"192.0.2.{i}", 1), name="x", seed=i)
        caller.call(B, 0)
        ((data, _),) = caller.datagrams_to_send(0)
        b.handle_datagram(data, (f"192.0.2.{i}", 1), world.now_ns)
    replies = Counter(type(parse_handshake(split(d)[1])).__name__ for d, _ in b.datagrams_to_send(world.now_ns))
    assert replies == {"Reply": 4, "Cookie": 196}
    assert len(b._signalling._door) == 4
    world.machines[A].call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)


# ---- the seam for simulations --------------------------------------------------------------------
def test_an_unprotected_end_and_a_protected_one_never_understand_each_other() -> None:
    sizes = []
    for sides in ((UNPROTECTED, UNPROTECTED), (None, UNPROTECTED), (None, None)):
        world = World()
        for address, protection in zip((A, B), sides, strict=True):
            extra = {} if protection is None else {"protection": protection}
            made = Session(World().session(address)._settings, entropy=random.Random(address[1]).randbytes, **extra)  # type: ignore[arg-type]
            world.machines[address] = made
            world.events[address], world.played[address] = [], []
        world.machines[B].listen(world.now_ns)
        world.machines[A].call(B, world.now_ns)
        world.run_ms(1000)
        rang = any(isinstance(e, ev.PeerRinging) for e in world.events[A])
        assert rang == (sides[0] is sides[1])
        sizes.append([len(d) for d, _, _ in world.capture])
    assert sizes[0] == sizes[2]
