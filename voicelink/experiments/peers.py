"""Other codecs through the same link at no more than the same wire rate, headers counted.

A peer sends RTP packets of constant size (12 bytes of header, no encryption) over IPv4 and UDP (28 bytes). Of the
packets it could send, it sends the shortest whose payload still holds its least bitrate, as libwebrtc's
FrameLengthControllerV2 chooses; longer ones wait longer and lose more at once, shorter ones waste the rate on headers.
They go through the cell's own link model with its seed, and wait in a fixed buffer for as long as voicelink's packets
wait on average in that cell: what comes later is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.resampler import resample
from voicelink.errors import ConfigError
from voicelink.experiments import codec2, opus
from voicelink.sim.link import Link
from voicelink.sim.scenario import Scenario
from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, SAMPLE_RATE_HZ

RTP_HEADER_BYTES: Final = 12
HEADER_BYTES: Final = IP_UDP_HEADER_BYTES + RTP_HEADER_BYTES
#: Longest packet of a peer, ms: what Opus can do at most.
LONGEST_MS: Final = 120


@dataclass(frozen=True)
class PeerPlan:
    """How a peer uses a wire rate: packets of `packet_ms` with `payload_bytes`, in `mode` (Codec2's bit/s)."""

    codec: str
    packet_ms: int
    payload_bytes: int
    mode: int = 0

    @property
    def wire_kbps(self) -> float:
        """IP, UDP and RTP headers counted."""
        return (HEADER_BYTES + self.payload_bytes) * 8 / self.packet_ms

    @property
    def bitrate_bps(self) -> int:
        """Of the payload alone."""
        return round(self.payload_bytes * 8000 / self.packet_ms)


@dataclass(frozen=True)
class PeerCall:
    """What came of a peer's call: `heard`, float32 at `rate_hz`, and its row of figures."""

    heard: NDArray[np.float32]
    rate_hz: int
    figures: dict[str, Any]


def plan(codec: str, wire_kbps: float) -> PeerPlan | None:
    """The packets of `codec` that fit in `wire_kbps`; None where even its least rate does not."""
    return {"opus": _plan_opus, "codec2": _plan_codec2}[codec](wire_kbps)


def call(chosen: PeerPlan, said: NDArray[np.float32], scenario: Scenario, buffer_ms: float) -> PeerCall:
    """One direction of a call: `said`, float32 at 22 050 Hz, coded, sent through the scenario's link, and decoded."""
    run = {"opus": _opus, "codec2": _codec2}[chosen.codec]
    return run(chosen, said, scenario, buffer_ms)


def require_peer(codec: str) -> None:
    """Raise ConfigError where what `codec` needs is not installed."""
    if codec == "opus":
        opus.library()
    elif codec == "codec2":
        codec2.code(np.zeros(320, np.float32), 3200)


def _plan_opus(wire_kbps: float) -> PeerPlan | None:
    for packet_ms in opus.PACKET_MS:
        payload = int(wire_kbps * packet_ms / 8 + 1e-9) - HEADER_BYTES
        if payload * 8000 >= opus.MIN_BITRATE_BPS * packet_ms:
            return PeerPlan("opus", packet_ms, min(payload, 1275))
    return None


def _plan_codec2(wire_kbps: float) -> PeerPlan | None:
    """The best mode that fits, in its shortest packets that fit."""
    for mode, (frame_ms, frame_bytes) in codec2.MODES.items():
        for frames in range(1, LONGEST_MS // frame_ms + 1):
            chosen = PeerPlan("codec2", frames * frame_ms, frames * frame_bytes, mode)
            if chosen.wire_kbps <= wire_kbps + 1e-9:
                return chosen
    return None


def _opus(chosen: PeerPlan, said: NDArray[np.float32], scenario: Scenario, buffer_ms: float) -> PeerCall:
    speech = resample(said, SAMPLE_RATE_HZ, opus.RATE_HZ)
    expected = round(100 * scenario.loss)
    packets, delay = opus.code(speech, chosen.packet_ms, chosen.payload_bytes, expected)
    arrived, figures = _carry(chosen, packets, scenario, buffer_ms, 1000 * delay / opus.RATE_HZ)
    heard = opus.decode(arrived, chosen.packet_ms)[delay : delay + len(speech)]
    return PeerCall(heard, opus.RATE_HZ, figures)


def _codec2(chosen: PeerPlan, said: NDArray[np.float32], scenario: Scenario, buffer_ms: float) -> PeerCall:
    speech = resample(said, SAMPLE_RATE_HZ, codec2.RATE_HZ)
    delay = codec2.DELAY_SAMPLES[chosen.mode]
    frames = codec2.code(np.pad(speech, (0, delay)), chosen.mode)
    size = codec2.MODES[chosen.mode][1]
    many = chosen.payload_bytes // size
    packets = [b"".join(frames[at : at + many]) for at in range(0, len(frames), many)]
    arrived, figures = _carry(chosen, packets, scenario, buffer_ms, 1000 * delay / codec2.RATE_HZ)
    there: list[bytes | None] = []
    for sent, packet in zip(packets, arrived, strict=True):
        count = len(sent) // size
        there += [None] * count if packet is None else [packet[i * size : (i + 1) * size] for i in range(count)]
    heard = codec2.decode(there, chosen.mode)[delay : delay + len(speech)]
    return PeerCall(heard, codec2.RATE_HZ, figures)


def _carry(
    chosen: PeerPlan, packets: list[bytes], scenario: Scenario, buffer_ms: float, codec_ms: float
) -> tuple[list[bytes | None], dict[str, Any]]:
    """Packets as they are at their playout time, None for those that are not there, and the figures.

    `codec_ms` is the codec's own look-ahead.
    """
    link = Link(scenario.link(0), 0, scenario.trace_data)
    changes = list(scenario.changes)
    sent_ns, came_ns = [], []
    for number, packet in enumerate(packets, 1):
        now_ns = number * chosen.packet_ms * NS_PER_MS + round(scenario.encode_ms * NS_PER_MS)
        while changes and changes[0].at_s * 1e9 <= now_ns:
            link.change(scenario.link(0, changes.pop(0).at_s))
        copies = link.carry(bytes(RTP_HEADER_BYTES) + packet, now_ns)
        sent_ns.append(now_ns)
        came_ns.append(min((due for due, _ in copies), default=None))
    transits = [came - sent for came, sent in zip(came_ns, sent_ns, strict=True) if came is not None]
    wait_ns = (min(transits) if transits else 0) + round(buffer_ms * NS_PER_MS)
    late = [came is not None and came - sent > wait_ns for came, sent in zip(came_ns, sent_ns, strict=True)]
    there = [None if came is None or is_late else packet
             for came, is_late, packet in zip(came_ns, late, packets, strict=True)]  # fmt: skip
    lost = sum(came is None for came in came_ns)
    delay_ms = codec_ms + chosen.packet_ms + scenario.encode_ms + wait_ns / NS_PER_MS + scenario.decode_ms
    return there, {
        "packets": len(packets),
        "wire_kbps": round(chosen.wire_kbps, 4),
        "packet_loss": round(lost / len(packets), 6),
        "transit_ms": round(float(np.median(transits)) / NS_PER_MS, 3) if transits else None,
        "transit_spread_ms": round(float(np.std(transits)) / NS_PER_MS, 3) if transits else None,
        "frames_due": len(packets),
        "frame_loss": round(sum(packet is None for packet in there) / len(packets), 6),
        "late_loss": round(sum(late) / len(packets), 6),
        "buffer_mean_ms": round(buffer_ms, 3),
        "mouth_to_ear_p50_ms": round(delay_ms, 3),
        "mouth_to_ear_p95_ms": round(delay_ms, 3),
        "peer_packet_ms": chosen.packet_ms,
        "peer_bitrate_bps": chosen.mode or chosen.bitrate_bps,
    }


def impossible(codec: str, wire_kbps: float) -> ConfigError:
    """What to say where `plan` found nothing."""
    return ConfigError(f"{codec} has no mode for {wire_kbps:.2f} kbps on the wire")
