"""Damage to byte strings, seeded: what a broken network, a broken program or an attacker makes of a good one."""

from __future__ import annotations

import random
from collections.abc import Sequence

EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc7",
)


def mutated(rng: random.Random, corpus: Sequence[bytes], most_bytes: int) -> bytes:
    """One of `corpus` with some damage, or mere noise now and then."""
    data = bytearray(rng.choice(corpus))
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(min(most_bytes, 1300)))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        _DAMAGE[rng.randrange(len(_DAMAGE))](rng, data, corpus)
    return bytes(data[:most_bytes])


def _flip(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _set_early(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(min(len(data), 12))] = rng.randrange(256)


def _cut(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randrange(1, 9)]


def _extreme(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at, what = rng.randrange(len(data) + 1), rng.choice(EXTREMES)
    data[at : at + len(what)] = what


def _grow(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randrange(1, 40))


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]


_DAMAGE = (_flip, _flip, _set, _set, _set_early, _cut, _remove, _extreme, _grow, _splice)
