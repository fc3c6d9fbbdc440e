"""How voicelink and Opus use their rate in each cell of the loss table: found once, and stated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from voicelink.experiments.opus import MIN_BITRATE_BPS
from voicelink.experiments.peers import HEADER_BYTES
from voicelink.units import NS_PER_MS, frames_to_ns

#: What the jitter buffer holds beyond the last repetition of a frame, ms.
MARGIN_MS: Final = 4
MAX_PAYLOAD: Final = 1275


@dataclass(frozen=True)
class Setting:
    """A session's: frames a packet, and each frame again in `copies` later packets, `distance` frames between.

    Repeated frames have `bits`; new ones have what is left of the rate, 64 at most.
    """

    frames: int
    copies: int = 0
    distance: int = 0
    bits: int = 0

    @property
    def reach_frames(self) -> int:
        """From a frame's first packet to its last one."""
        return self.copies * (self.distance + self.frames)

    @property
    def text(self) -> str:
        """As the table shows it."""
        ms = round(frames_to_ns(self.frames) / NS_PER_MS)
        if not self.copies:
            return f"{ms} ms"
        apart = round(frames_to_ns(self.distance + self.frames) / NS_PER_MS)
        return f"{ms} ms, {self.copies} x {self.bits} bits after {apart} ms"

    def values(self) -> dict[str, Any]:
        """By scenario key. The buffer waits for the last repetition from the start."""
        wait_ms = frames_to_ns(self.frames - 1 + self.reach_frames) // NS_PER_MS + MARGIN_MS
        return {
            "frames_per_packet": self.frames,
            "redundancy": self.frames if self.copies else 0,
            "redundancy_copies": max(1, self.copies),
            "redundancy_distance": self.distance,
            "redundant_bits": self.bits,
            "playout_delay_min_ms": wait_ms if self.copies else 0,
        }


@dataclass(frozen=True)
class OpusSetting:
    """Length of a packet, and the loss in percent that the encoder is told of: above 0 it adds redundancy where it can.

    Without `vbr` all packets have one size, with it they have the same size on average.
    """

    packet_ms: int
    expected_loss: int = 0
    vbr: bool = True

    @property
    def text(self) -> str:
        """As the table shows it."""
        redundancy = f", FEC {self.expected_loss} %" if self.expected_loss else ""
        return f"{self.packet_ms} ms{redundancy}{'' if self.vbr else ', CBR'}"

    def payload_bytes(self, wire_kbps: int) -> int:
        """What is left of a packet without its headers."""
        return min(wire_kbps * self.packet_ms // 8 - HEADER_BYTES, MAX_PAYLOAD)

    def possible(self, wire_kbps: int) -> bool:
        """Whether Opus' least bitrate fits."""
        return self.payload_bytes(wire_kbps) * 8000 >= MIN_BITRATE_BPS * self.packet_ms


#: By wire rate, kbps, share of loss, and mean burst, ms. Chosen over frames, copies, distance and bits by what bits
#: cost and what a lost frame costs in ESTOI (0.6 to 0.8 of the share of frames that never come), within 380 ms from
#: mouth to ear where losses are independent, and 410 ms where they come in bursts: there a copy is lost together with
#: its frame the less the further away it is, and packets of eight frames leave most for copies. Measured with losses of
#: other seeds than the table's.
SETTINGS: Final[dict[tuple[int, float, int], Setting]] = {
    (9, 0.0, 0): Setting(8), (9, 0.05, 0): Setting(8, 1, 0, 12), (9, 0.1, 0): Setting(8, 1, 0, 16),
    (9, 0.2, 0): Setting(8, 1, 0, 20), (9, 0.3, 0): Setting(8, 1, 0, 24),
    (9, 0.1, 60): Setting(8, 1, 4, 16), (9, 0.1, 120): Setting(8, 1, 12, 16),
    (9, 0.2, 60): Setting(8, 1, 4, 20), (9, 0.2, 120): Setting(8, 1, 8, 20),
    (12, 0.0, 0): Setting(5), (12, 0.05, 0): Setting(8, 1, 0, 26), (12, 0.1, 0): Setting(8, 1, 0, 28),
    (12, 0.2, 0): Setting(8, 2, 0, 20), (12, 0.3, 0): Setting(8, 2, 0, 22),
    (12, 0.1, 60): Setting(8, 1, 4, 26), (12, 0.1, 120): Setting(8, 1, 12, 26),
    (12, 0.2, 60): Setting(8, 2, 0, 20), (12, 0.2, 120): Setting(8, 2, 2, 16),
    (16, 0.0, 0): Setting(3), (16, 0.05, 0): Setting(4, 1, 0, 24), (16, 0.1, 0): Setting(7, 1, 0, 48),
    (16, 0.2, 0): Setting(8, 2, 0, 35), (16, 0.3, 0): Setting(8, 2, 0, 35),
    (16, 0.1, 60): Setting(8, 1, 8, 64), (16, 0.1, 120): Setting(8, 1, 12, 64),
    (16, 0.2, 60): Setting(8, 2, 2, 35), (16, 0.2, 120): Setting(8, 2, 2, 35),
    (24, 0.0, 0): Setting(2), (24, 0.05, 0): Setting(3, 1, 0, 48), (24, 0.1, 0): Setting(4, 2, 0, 48),
    (24, 0.2, 0): Setting(6, 3, 0, 48), (24, 0.3, 0): Setting(6, 3, 0, 48),
    (24, 0.1, 60): Setting(8, 2, 2, 64), (24, 0.1, 120): Setting(4, 2, 8, 56),
    (24, 0.2, 60): Setting(6, 3, 0, 48), (24, 0.2, 120): Setting(4, 2, 8, 56),
}  # fmt: skip

#: The same for Opus: of all packet lengths, constant and variable rates, and losses told, the highest ESTOI
#: (`voicelink bench loss --find-opus`). 9 kbps leave only the longest packet.
OPUS: Final[dict[tuple[int, float, int], OpusSetting]] = {
    **{(9, loss, burst): OpusSetting(120) for loss, burst in
       ((0.0, 0), (0.05, 0), (0.1, 0), (0.2, 0), (0.3, 0), (0.1, 60), (0.1, 120), (0.2, 60), (0.2, 120))},
    (12, 0.0, 0): OpusSetting(120, vbr=False), (12, 0.05, 0): OpusSetting(120, vbr=False),
    (12, 0.1, 0): OpusSetting(120, vbr=False), (12, 0.2, 0): OpusSetting(120, vbr=False),
    (12, 0.3, 0): OpusSetting(80, vbr=False), (12, 0.1, 60): OpusSetting(60),
    (12, 0.1, 120): OpusSetting(120, vbr=False), (12, 0.2, 60): OpusSetting(60),
    (12, 0.2, 120): OpusSetting(100, vbr=False),
    (16, 0.0, 0): OpusSetting(120, vbr=False), (16, 0.05, 0): OpusSetting(120, 5), (16, 0.1, 0): OpusSetting(120, 5),
    (16, 0.2, 0): OpusSetting(120, 5), (16, 0.3, 0): OpusSetting(80, 30),
    (16, 0.1, 60): OpusSetting(80, 25), (16, 0.1, 120): OpusSetting(120, 10),
    (16, 0.2, 60): OpusSetting(40, 20), (16, 0.2, 120): OpusSetting(100, 20),
    (24, 0.0, 0): OpusSetting(120), (24, 0.05, 0): OpusSetting(120, 5), (24, 0.1, 0): OpusSetting(60, 10),
    (24, 0.2, 0): OpusSetting(40, 20), (24, 0.3, 0): OpusSetting(40, 30),
    (24, 0.1, 60): OpusSetting(60, 10), (24, 0.1, 120): OpusSetting(60, 10),
    (24, 0.2, 60): OpusSetting(40, 20), (24, 0.2, 120): OpusSetting(60, 20),
}  # fmt: skip
