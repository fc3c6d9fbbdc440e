"""Replay window, sealing, cookies, possession, identity, words: each alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.errors import LocalProtocolError
from voicelink.secure.cookies import COOKIE_EPOCH_NS, Cookies
from voicelink.secure.handshake import Callee, Caller
from voicelink.secure.identity import Credentials, Identity, Trust, fingerprint, psk_of
from voicelink.secure.noise import NoiseError
from voicelink.secure.null import UNPROTECTED
from voicelink.secure.possession import claim, is_proven, prove
from voicelink.secure.replay import WINDOW, ReplayWindow
from voicelink.secure.seal import (
    LAST_COUNTER,
    REKEY_AFTER_NS,
    REKEY_AFTER_PACKETS,
    ForgedError,
    Opener,
    ReplayError,
    Sealer,
)
from voicelink.secure.words import WORDS, words_of
from voicelink.settings import Address
from voicelink.wire.packet import Kind, split

SECRET = bytes(range(32))
A: Address = ("192.0.2.1", 5)


# ---- replay --------------------------------------------------------------------------------------
@given(st.lists(st.integers(0, 5_000) | st.integers(0, 1 << 40), max_size=300))
def test_a_replay_window_is_a_set_that_forgets_the_old(counters: list[int]) -> None:
    window, seen, highest = ReplayWindow(), set(), -1
    for counter in counters:
        expected = counter not in seen and counter > highest - WINDOW
        assert window.is_new(counter) == expected
        if expected:
            window.mark(counter)
            seen.add(counter)
            highest = max(highest, counter)


def test_the_window_is_as_wide_as_promised() -> None:
    assert WINDOW >= 1024
    window = ReplayWindow()
    window.mark(10_000)
    assert window.is_new(10_000 - WINDOW + 1)
    assert not window.is_new(10_000 - WINDOW)
    window.mark(10_000 - WINDOW + 1)
    assert not window.is_new(10_000 - WINDOW + 1)


# ---- sealing -------------------------------------------------------------------------------------
def opened(opener: Opener, data: bytes) -> tuple[bytes, int]:
    return opener.open(split(data)[0], data)


@pytest.mark.parametrize("kind", [Kind.MEDIA, Kind.CONTROL])
def test_what_is_sealed_opens_once_and_only_unchanged(kind: Kind) -> None:
    sealer, opener = Sealer(7, SECRET), Opener(SECRET)
    data = sealer.seal(kind, b"words", 0)
    assert len(data) == 7 + 5 + {Kind.MEDIA: 8, Kind.CONTROL: 16}[kind]
    for bit in range(8, 8 * len(data)):  # the first byte's are in the tests of split and of whole calls
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ForgedError):
            opened(opener, bytes(damaged))
    assert opened(opener, data) == (b"words", 0)
    with pytest.raises(ReplayError):
        opened(opener, data)
    with pytest.raises(ForgedError):
        opened(Opener(bytes(32)), data)


def test_no_counter_ever_seals_twice() -> None:
    sealer = Sealer(7, SECRET)
    sealer._counters[Kind.MEDIA] = LAST_COUNTER - 1
    assert not sealer.exhausted
    sealer.seal(Kind.MEDIA, b"", 0)
    assert sealer.exhausted
    sealer._counters[Kind.MEDIA] = (1 << 64) - 1
    sealer.seal(Kind.MEDIA, b"", 0)
    with pytest.raises(LocalProtocolError, match="no packet counter"):
        sealer.seal(Kind.MEDIA, b"", 0)


@pytest.mark.parametrize("seed", range(5))
def test_keys_change_by_time_and_by_count_however_datagrams_travel(seed: int) -> None:
    rng, sealer, opener = random.Random(seed), Sealer(7, SECRET), Opener(SECRET)
    now_ns, on_the_way, got = 0, [], 0
    for i in range(3_000):
        now_ns += REKEY_AFTER_NS // 700
        if i == 1_500:
            sealer._epoch_packets = REKEY_AFTER_PACKETS
        kind = rng.choice((Kind.MEDIA, Kind.CONTROL))
        on_the_way.append((kind, b"%d" % i, sealer.seal(kind, b"%d" % i, now_ns)))
        if len(on_the_way) > 20:
            kind, body, data = on_the_way.pop(rng.randrange(20))
            if rng.random() < 0.3:
                continue
            assert opened(opener, data)[0] == body
            got += 1
            damaged = bytearray(data)
            damaged[0] ^= 0x80
            with pytest.raises((ForgedError, ReplayError)):
                opened(opener, bytes(damaged))
    assert got > 1_900
    assert sealer._epoch._number == opener._epoch._number == 5


def test_keys_differ_by_direction_kind_and_epoch_and_old_ones_cannot_be_made_from_new() -> None:
    seen = []

    class Spy:
        def aead(self, kind: Kind, key: bytes) -> object:
            seen.append(key)
            return UNPROTECTED.aead(kind, key)

    for secret in (SECRET, bytes(32)):
        sealer = Sealer(7, secret, Spy())  # type: ignore[arg-type]
        sealer.seal(Kind.MEDIA, b"", 0)
        sealer.seal(Kind.MEDIA, b"", REKEY_AFTER_NS)
    assert len(set(seen)) == len(seen) == 8


# ---- cookies and possession ----------------------------------------------------------------------
def test_cookies_hold_for_their_address_and_one_to_two_minutes() -> None:
    cookies = Cookies(random.Random(1).randbytes)
    cookie = cookies.make(A, 0)
    assert len(cookie) == 16
    assert cookies.is_good(cookie, A, COOKIE_EPOCH_NS)
    for other in (("192.0.2.1", 6), ("192.0.2.2", 5), ("192.0.2.15", 5)):
        assert not cookies.is_good(cookie, other, 0)
    assert not Cookies(random.Random(2).randbytes).is_good(cookie, A, 0)
    assert not cookies.is_good(cookie, A, 2 * COOKIE_EPOCH_NS)
    assert cookies.make(A, 2 * COOKIE_EPOCH_NS) != cookie
    again = Cookies(random.Random(1).randbytes)
    old = again.make(A, 0)
    assert not again.is_good(old, A, 50 * COOKIE_EPOCH_NS)


def test_only_the_holder_of_a_key_proves_it() -> None:
    server, client, eve = (Identity(bytes([i]) * 32) for i in (1, 2, 3))
    request = claim("register", "bob", 5, bytes(16))
    proof = prove(client, server.public, request)
    assert is_proven(server, client.public, request, proof)
    assert not is_proven(server, eve.public, request, proof)
    assert not is_proven(server, client.public, claim("unregister", "bob", 5, bytes(16)), proof)
    assert not is_proven(server, client.public, claim("register", "bob", 6, bytes(16)), proof)
    assert not is_proven(eve, client.public, request, proof)
    assert not is_proven(server, bytes(32), request, proof)
    assert not is_proven(server, b"short", request, proof)
    assert prove(server, client.public, request) == proof  # the server could: it learns nothing that it could misuse


# ---- identity ------------------------------------------------------------------------------------
def test_secrets_do_not_show_in_texts() -> None:
    identity = Identity(SECRET)
    credentials = Credentials(identity, psk_of("open sesame"), {"bob": bytes(32)})
    for text in (repr(identity), repr(credentials), str(credentials)):
        assert SECRET.hex() not in text
        assert repr(SECRET) not in text
        assert repr(credentials.psk) not in text
    assert fingerprint(identity.public) in repr(identity)
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(b"short")


def test_trust() -> None:
    credentials = Credentials(Identity(SECRET), None, {"bob": b"b" * 32})
    assert credentials.trust("bob", b"b" * 32) is Trust.KNOWN
    assert credentials.trust("bob", b"e" * 32) is Trust.CHANGED
    assert credentials.trust("eve", b"e" * 32) is Trust.NEW
    assert credentials.trust("", b"e" * 32) is Trust.UNNAMED


def test_a_passphrase_makes_the_same_key_everywhere() -> None:
    assert psk_of("open sesame") == psk_of("open sesame") != psk_of("open sesame ")
    assert len(psk_of("")) == 32


# ---- words and handshake -------------------------------------------------------------------------
def test_words_are_easy_to_tell_apart() -> None:
    assert len(set(WORDS)) == 256
    assert len({word[:4] for word in WORDS}) == 256
    assert all(3 < len(word) < 10 and word.isalpha() and word.islower() for word in WORDS)
    assert words_of(bytes([0, 255])) == (WORDS[0], WORDS[255])


def test_a_caller_cannot_choose_its_nonce_after_it_saw_the_callees_key() -> None:
    """Else somebody in the middle could look for one that gives equal words on both sides."""
    one, two = (Credentials(Identity(bytes([i]) * 32)) for i in (1, 2))
    caller = Caller(9, one, random.Random(1).randbytes)
    callee = Callee(9, caller.init(), two, random.Random(2).randbytes)
    caller.read(callee.reply)
    caller._nonce = bytes(16)
    with pytest.raises(NoiseError) as failed:
        callee.read(caller.finish(b"hello")[0])
    assert failed.value.part == "nonce"
