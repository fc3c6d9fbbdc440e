"""The body of a media datagram: frames, frames sent before once more, a pause, and feedback; before it is sealed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from voicelink.errors import PacketError
from voicelink.frame import NOISE_BYTES
from voicelink.settings import MAX_FRAMES_PER_PACKET
from voicelink.units import MAX_BITS_PER_FRAME
from voicelink.wire.bits import pack, unpack

HEAD_BYTES: Final = 4
BLOCK_BYTES: Final = 2
FEEDBACK_BYTES: Final = 12
PAUSE_BYTES: Final = 2 + NOISE_BYTES
MAX_BLOCKS: Final = 3
#: Frames between a block's last one and the packet's first new one, at most (1.5 s).
MAX_DISTANCE: Final = 127
MAX_BLOCK_FRAMES: Final = 8
#: A pause that began longer ago than this is told as if it had begun then.
MAX_SINCE: Final = 0xFFFF

_HEAD = struct.Struct(">HBB")
_FEEDBACK = struct.Struct(">HHBBHbBH")
_SPURT, _FEEDBACK_FOLLOWS = 0x80, 0x40
_MAX_U8, _MAX_U16 = 0xFF, 0xFFFF


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive frames that were sent before, once more, perhaps at fewer bits.

    The last of them lies `distance` + 1 frames before the packet's index. Raises ValueError for what has no encoding.
    """

    distance: int
    bits: int
    frames: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.distance <= MAX_DISTANCE:
            raise ValueError(f"distance {self.distance} of a block; 0..{MAX_DISTANCE} can be")
        if not 1 <= len(self.frames) <= MAX_BLOCK_FRAMES:
            raise ValueError(f"{len(self.frames)} frames in a block; 1..{MAX_BLOCK_FRAMES} can be")
        if not 1 <= self.bits <= MAX_BITS_PER_FRAME:
            raise ValueError(f"{self.bits} bits a frame; 1..{MAX_BITS_PER_FRAME} can be")


@dataclass(frozen=True, slots=True)
class PauseNotice:
    """The talker is silent, and has been for `since` frames before the packet's index; `noise` is what to hear."""

    since: int
    noise: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.since <= MAX_SINCE:
            raise ValueError(f"a pause of {self.since} frames; 0..{MAX_SINCE} can be")
        if len(self.noise) != NOISE_BYTES:
            raise ValueError(f"comfort noise of {len(self.noise)} bytes; it has {NOISE_BYTES}")


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a receiver tells the sender of the path: what a rate is chosen from. In units of the wire, see the fields.

    Values outside their range are brought into it. Counters go on modulo 2^16, so that a lost feedback loses nothing.
    """

    received: int
    """Media packets that came, modulo 2^16."""
    expected: int
    """Highest packet counter that came, plus one, modulo 2^16."""
    burst_half_frames: int
    """Mean length of the last losses, half frames; 0 for none yet."""
    late_permille: int
    """Frames that came too late, of the last 6 s."""
    queue_ms: int
    """By how much the fastest packet since the last feedback was slower than the path can be."""
    trend_8ms_per_s: int
    """How fast that grows, 8 ms a second; negative: it shrinks."""
    buffer_4ms: int
    """Playout delay after the fastest frame, 4 ms."""
    rate_100bps: int
    """What came since the last feedback, IP and UDP headers counted, 100 bit/s."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "received", self.received & _MAX_U16)
        put(self, "expected", self.expected & _MAX_U16)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                put(self, name, min(max(value, low), high))

    @classmethod
    def parse(cls, data: bytes) -> Feedback:
        """From FEEDBACK_BYTES bytes; the inverse of `bytes(feedback)`."""
        return cls(*_FEEDBACK.unpack(data))

    def __bytes__(self) -> bytes:
        return _FEEDBACK.pack(
            self.received,
            self.expected,
            self.burst_half_frames,
            self.late_permille,
            self.queue_ms,
            self.trend_8ms_per_s,
            self.buffer_4ms,
            self.rate_100bps,
        )


_RANGES: Final = (
    ("burst_half_frames", 0, _MAX_U8),
    ("late_permille", 0, _MAX_U8),
    ("queue_ms", 0, _MAX_U16),
    ("trend_8ms_per_s", -128, 127),
    ("buffer_4ms", 0, _MAX_U8),
    ("rate_100bps", 0, _MAX_U16),
)


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """One media datagram: new frames, or a pause.

    `first_index` is the low 16 bits of the first new frame's index (of a pause: of the frame that would be next).
    `frames` are consecutive from there, all of `bits` bits; payloads are as in `Frame.payload`. A pause has none, and
    0 bits. `spurt`: the sender was silent until the first new frame. Raises ValueError for what has no encoding.
    """

    first_index: int
    bits: int
    frames: tuple[bytes, ...]
    blocks: tuple[Block, ...] = ()
    spurt: bool = False
    feedback: Feedback | None = None
    pause: PauseNotice | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.first_index <= _MAX_U16:
            raise ValueError(f"frame index {self.first_index} does not fit 16 bits")
        if len(self.blocks) > MAX_BLOCKS:
            raise ValueError(f"{len(self.blocks)} blocks of earlier frames; at most {MAX_BLOCKS} can be")
        if self.pause is not None:
            if self.frames or self.bits or self.spurt:
                raise ValueError("a pause that holds frames, or starts a talk spurt")
            return
        if not 1 <= len(self.frames) <= MAX_FRAMES_PER_PACKET:
            raise ValueError(f"{len(self.frames)} frames in a packet; 1..{MAX_FRAMES_PER_PACKET} can be")
        if not 1 <= self.bits <= MAX_BITS_PER_FRAME:
            raise ValueError(f"{self.bits} bits a frame; 1..{MAX_BITS_PER_FRAME} can be")

    def __bytes__(self) -> bytes:
        blocks, pause = self.blocks, self.pause
        flags = (_SPURT if self.spurt else 0) | (_FEEDBACK_FOLLOWS if self.feedback is not None else 0)
        bits = self.bits
        head = _HEAD.pack(self.first_index, flags | (bits - 1 if bits else 0), len(self.frames) << 4 | len(blocks) << 2)
        if not (blocks or pause or self.feedback):  # most packets are as plain as this
            return head + pack([(payload, bits) for payload in self.frames])
        codes: list[tuple[bytes, int]] = []
        for block in blocks:
            about = block.distance << 9 | (len(block.frames) - 1) << 6 | (block.bits - 1)
            head += about.to_bytes(2, "big")
            codes += [(payload, block.bits) for payload in block.frames]
        if self.feedback is not None:
            head += bytes(self.feedback)
        if pause is not None:
            head += pause.since.to_bytes(2, "big") + pause.noise
        codes += [(payload, bits) for payload in self.frames]
        return head + pack(codes)

    @classmethod
    def parse(cls, body: bytes) -> MediaPacket:
        """The packet that `body` encodes; the inverse of `bytes(packet)`. Raises PacketError."""
        if len(body) < HEAD_BYTES:
            raise PacketError(f"media body of {len(body)} bytes; at least {HEAD_BYTES} are needed")
        first_index, about, counts = _HEAD.unpack_from(body)
        new, bits = counts >> 4, (about & 0x3F) + 1
        if counts & 3 or new > MAX_FRAMES_PER_PACKET:
            raise PacketError(f"byte {counts:#04x} of counts: more than 8 frames, or reserved bits set")
        if not new and about & ~_FEEDBACK_FOLLOWS:
            raise PacketError("a pause that names bits a frame, or starts a talk spurt")
        if not counts & 0xF and new and not about & _FEEDBACK_FOLLOWS:  # most packets are as plain as this
            codes = unpack(body[HEAD_BYTES:], [bits] * new)
            return cls(first_index, bits, tuple(codes), (), about >= _SPURT)
        return cls._parse_more(body, first_index, about, new, counts >> 2 & 3)

    @classmethod
    def _parse_more(cls, body: bytes, first_index: int, about: int, new: int, count: int) -> MediaPacket:
        bits, at = (about & 0x3F) + 1, HEAD_BYTES + BLOCK_BYTES * count
        feedback_bytes = FEEDBACK_BYTES if about & _FEEDBACK_FOLLOWS else 0
        codes_at = at + feedback_bytes + (0 if new else PAUSE_BYTES)
        if len(body) < codes_at:
            raise PacketError(f"media body of {len(body)} bytes ends before its codes, which begin at {codes_at}")
        heads = [int.from_bytes(body[i : i + 2], "big") for i in range(HEAD_BYTES, at, BLOCK_BYTES)]
        shapes = [(head >> 9, (head & 0x3F) + 1, (head >> 6 & 7) + 1) for head in heads]
        feedback = Feedback.parse(body[at : at + FEEDBACK_BYTES]) if feedback_bytes else None
        at += feedback_bytes
        pause = None if new else PauseNotice(int.from_bytes(body[at : at + 2], "big"), body[at + 2 : codes_at])
        codes = unpack(body[codes_at:], [b for _, b, frames in shapes for _ in range(frames)] + [bits] * new)
        blocks, taken = [], 0
        for distance, block_bits, frames in shapes:
            blocks.append(Block(distance, block_bits, tuple(codes[taken : taken + frames])))
            taken += frames
        return cls(
            first_index,
            bits if new else 0,
            tuple(codes[taken:]),
            tuple(blocks),
            bool(about & _SPURT),
            feedback,
            pause,
        )
