"""One coded frame, or the lack of one, as everything but the codec sees it: an index, a bit count, and bytes.

It lies beside the base modules, not in `wire/`, since both `codec/` (which makes frames) and `core/`
(which moves them) use it and neither may import the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voicelink.units import MAX_BITS_PER_FRAME

#: Comfort noise: the background's log-mel spectrum in so many groups of bands, a byte each (see `codec/pauses.py`).
NOISE_BYTES: Final = 8


#: Which descriptions of a frame came, as traces of calls and what is rendered from them number it.
FIRST_CAME, BOTH_CAME, SECOND_CAME = range(3)


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame `index` (media time since the stream's start) in `bits` bits.

    `payload` holds ceil(bits / 8) bytes: the first bit is the most significant of byte 0, unused low
    bits of the last byte are zero. `second` may hold as many: another code of the same frame, which tells more together
    with the first (`codec/descriptions.py`); `is_second` where that one alone is known, in `payload`. Raises ValueError
    where they do not fit each other.
    """

    index: int
    bits: int
    payload: bytes
    second: bytes = b""
    is_second: bool = False

    def __post_init__(self) -> None:
        bits, payload = self.bits, self.payload
        if self.index < 0:
            raise ValueError(f"frame index {self.index} is negative")
        if not 1 <= bits <= MAX_BITS_PER_FRAME:
            raise ValueError(f"{bits} bits a frame is outside 1..{MAX_BITS_PER_FRAME}")
        if len(payload) != (bits + 7) >> 3:
            raise ValueError(f"{len(payload)} payload bytes do not hold {bits} bits")
        if bits & 7 and payload[-1] & (0xFF >> (bits & 7)):
            raise ValueError("unused payload bits must be zero")
        if self.second:
            Frame(self.index, bits, self.second)

    def truncated(self, bits: int) -> Frame:
        """The same frame at fewer bits: codes are embedded, so a prefix is a valid coarser code."""
        if bits >= self.bits:
            return self
        kept = bytearray(self.payload[: (bits + 7) // 8])
        kept[-1] &= 0xFF & ~(0xFF >> (((bits - 1) % 8) + 1))
        return Frame(self.index, bits, bytes(kept))

    def joined(self, other: Frame) -> Frame:
        """What two copies of a frame tell together: the one of more bits, or both where one is a second description."""
        if other.bits != self.bits:
            return max(self, other, key=lambda frame: frame.bits)
        first, second = (other, self) if self.is_second else (self, other)
        if first.second or first.is_second or not second.is_second or first.payload == second.payload:
            return first
        return Frame(self.index, self.bits, first.payload, second.payload)


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is said in frame `index`, so it is not coded; `noise` is the background, as `codec/pauses.py` packs it.

    Raises ValueError where the noise has another length than NOISE_BYTES, or the index is negative.
    """

    index: int
    noise: bytes

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"frame index {self.index} is negative")
        if len(self.noise) != NOISE_BYTES:
            raise ValueError(f"comfort noise of {len(self.noise)} bytes; it has {NOISE_BYTES}")
