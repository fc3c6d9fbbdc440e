"""Codes of n bits each, packed without gaps; the first bit is the most significant of byte 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voicelink.errors import PacketError


def pack(codes: Iterable[tuple[bytes, int]]) -> bytes:
    """Join `(payload, bits)` codes into bytes; unused low bits of the last byte are zero.

    Each payload holds ceil(bits / 8) bytes with its bits at the top, as in `Frame.payload`.
    """
    value = total = 0
    for payload, bits in codes:
        value = (value << bits) | (int.from_bytes(payload, "big") >> (8 * len(payload) - bits))
        total += bits
    return (value << (-total % 8)).to_bytes((total + 7) // 8, "big")


def unpack(data: bytes, widths: Sequence[int]) -> list[bytes]:
    """Take apart what `pack` made of codes of `widths` bits.

    Raises PacketError unless `data` is exactly as long as that, with zeros in the unused bits.
    """
    total = sum(widths)
    if len(data) != (total + 7) // 8:
        raise PacketError(f"{len(data)} bytes of codes where {total} bits are announced")
    value = int.from_bytes(data, "big")
    if value & ((1 << (-total % 8)) - 1):
        raise PacketError("unused bits after the codes are not zero")
    left = 8 * len(data)
    codes = []
    for bits in widths:
        left -= bits
        code = (value >> left) & ((1 << bits) - 1)
        codes.append((code << (-bits % 8)).to_bytes((bits + 7) // 8, "big"))
    return codes
