"""What a sender puts into its packets, and what that takes on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voicelink.core.events import Agreed
from voicelink.errors import ConfigError
from voicelink.settings import SessionSettings
from voicelink.units import FRAME_SAMPLES, IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ
from voicelink.wire.media import BLOCK_BYTES, FEEDBACK_BYTES, HEAD_BYTES, MAX_BLOCKS, MAX_DISTANCE
from voicelink.wire.packet import MEDIA_OVERHEAD_BYTES

#: Bytes of a packet without its codes, IPv4 and UDP headers counted.
PACKET_BYTES: Final = IP_UDP_HEADER_BYTES + MEDIA_OVERHEAD_BYTES + HEAD_BYTES

#: Between two feedbacks on a good path.
FEEDBACK_NS: Final = 400 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Repeat:
    """`frames` earlier frames once more in each packet, the last of them `distance` + 1 before its first new one.

    At `bits` a frame, or as many as the frame had where that is fewer.
    """

    distance: int
    frames: int
    bits: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Bits of a new frame, new frames a packet, and what each packet repeats."""

    bits: int
    frames: int
    repeats: tuple[Repeat, ...] = ()

    @property
    def reach(self) -> int:
        """How many frames back the oldest repeated one lies."""
        return max((repeat.distance + repeat.frames for repeat in self.repeats), default=0)

    @property
    def repeats_twice(self) -> bool:
        """Whether frames are repeated twice with all their bits: then the first repetition can be a second description.

        Not where it would be the only one: alone it leaves a decoder's state a little off.
        """
        return len(self.repeats) > 1 and all(repeat.bits >= self.bits for repeat in self.repeats[:2])

    @property
    def packet_bytes(self) -> int:
        """Bytes of a packet on the wire, IPv4 and UDP headers counted."""
        code_bits = self.frames * self.bits + sum(r.frames * min(r.bits, self.bits) for r in self.repeats)
        return PACKET_BYTES + BLOCK_BYTES * len(self.repeats) + (code_bits + 7) // 8

    @property
    def wire_bps(self) -> int:
        """Bits a second on the wire, IPv4 and UDP headers counted, rounded up."""
        per_frame = self.packet_bytes * 8 * SAMPLE_RATE_HZ
        return -(-per_frame // (FRAME_SAMPLES * self.frames))


def feedback_bps(interval_ns: int) -> int:
    """What feedback to the other end takes, at so much time between two."""
    return FEEDBACK_BYTES * 8 * NS_PER_S // interval_ns


def check_wire_limit(settings: SessionSettings) -> None:
    """Raise ConfigError where the least that `settings` allow to send takes more than `settings.wire_kbps`."""
    frames = settings.frames_per_packet_max if settings.adapts else settings.frames_per_packet
    repeats = () if settings.adapts else _repeats(settings, settings.bits_min)
    least_kbps = (Plan(settings.bits_min, frames, repeats).wire_bps + feedback_bps(FEEDBACK_NS)) / 1000
    if settings.wire_kbps and settings.wire_kbps < least_kbps:
        repeated = f" and {settings.redundancy} repeated" if repeats else ""
        least = f"{settings.bits_min} bits a frame, {frames} frames a packet{repeated}"
        raise ConfigError(
            f"session.wire_kbps = {settings.wire_kbps:g} is too little: {least} take {least_kbps:.1f} kbit/s with all "
            "headers; raise it, or send more frames in a packet"
        )


def fixed_plan(settings: SessionSettings, agreed: Agreed) -> Plan:
    """As the settings say, at the most bits that were agreed on and that `settings.wire_kbps` allows."""
    budget_bps = round(settings.wire_kbps * 1000)
    if budget_bps and agreed.feedback and not settings.constant_rate:
        budget_bps -= feedback_bps(FEEDBACK_NS)
    for bits in range(agreed.bits_max, agreed.bits_min, -1):
        plan = Plan(bits, agreed.frames_per_packet, _repeats(settings, bits))
        if not budget_bps or plan.wire_bps <= budget_bps:
            return plan
    return Plan(agreed.bits_min, agreed.frames_per_packet, _repeats(settings, agreed.bits_min))


def _repeats(settings: SessionSettings, bits: int) -> tuple[Repeat, ...]:
    """Copies of `settings.redundancy` frames, each so far before the one after it."""
    frames, bits = settings.redundancy, min(settings.redundant_bits or bits, bits)
    step = settings.redundancy_distance + frames
    distances = (copy * step - frames for copy in range(1, min(settings.redundancy_copies, MAX_BLOCKS) + 1))
    return tuple(Repeat(d, frames, bits) for d in distances if d <= MAX_DISTANCE) if frames else ()
