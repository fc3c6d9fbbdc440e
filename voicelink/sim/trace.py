"""Everything that happened in one simulated call, as integers: exact, comparable, and small enough to keep.

Times are ns from the moment at which both ends were connected. A `Trace` has two ends; what end 0 sent, end 1
heard. Slots are the loudspeaker's, of 256 samples (a WAIT takes half of one): one row a playout decision, in order.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.core.stats import Samples
from voicelink.errors import ConfigError
from voicelink.units import FRAME_SAMPLES, LAG_STEPS, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ, bitrate_bps, frames_to_ns

Ints = NDArray[np.int64]

#: `kind` of a row. WAIT: nothing to play yet; STRETCH: no new frame; COMFORT: announced silence. Two fill no slot, and
#: the row after them does: SKIP, decoded and not heard, and HEAL, a late frame that mends the decoder's state.
WAIT, PLAY, CONCEAL, STRETCH, SKIP, COMFORT, HEAL = range(7)
KINDS: Final = ("wait", "play", "conceal", "stretch", "skip", "comfort", "heal")
#: Samples of the loudspeaker that a decision of each kind fills.
SAMPLES: Final = np.array([FRAME_SAMPLES // 2, *[FRAME_SAMPLES] * 3, 0, FRAME_SAMPLES, 0], np.int64)
NO_FRAME: Final = -1
#: `came_ns` of a packet that did not: lost, dropped by the bottleneck's queue, or still on its way at the end.
LOST, DROPPED, UNDERWAY = -1, -2, -3
#: A block is handed to the loudspeaker one period before its first sample leaves it, as in a real call.
OUTPUT_LATENCY_NS: Final = frames_to_ns(1)
_FORMAT: Final = 4


@dataclass(frozen=True)
class Clock:
    """A sound card: sample s is at `start_ns` + s / 22 050 s, stretched by `ppb` (parts in 10^9, positive: slow)."""

    start_ns: int
    ppb: int

    def frame_ns(self, frame: int) -> int:
        """When frame `frame` (256 samples each) begins."""
        return self.sample_ns(frame * FRAME_SAMPLES)

    def sample_ns(self, sample: int) -> int:
        """When sample `sample` begins."""
        return self.start_ns + sample * (NS_PER_S + self.ppb) // SAMPLE_RATE_HZ

    def frames_ns(self, frames: Ints) -> Ints:
        """`frame_ns` of many."""
        return self.samples_ns(frames * FRAME_SAMPLES)

    def samples_ns(self, samples: Ints) -> Ints:
        """`sample_ns` of many."""
        return self.start_ns + samples * (NS_PER_S + self.ppb) // SAMPLE_RATE_HZ


@dataclass(frozen=True)
class EndTrace:
    """One end. Arrays of a group have equal lengths."""

    name: str
    microphone: Clock
    """Frame t of what this end said is of samples 256 t on of this clock."""
    loudspeaker: Clock
    # What it heard, a row a decision.
    kind: NDArray[np.uint8]
    """One of `KINDS` by number."""
    index: NDArray[np.int32]
    """The other end's frame; NO_FRAME for WAIT and STRETCH."""
    bits: NDArray[np.uint8]
    """Bits of the frame played, skipped or healed with; 0 otherwise."""
    lag: NDArray[np.uint8]
    """How far what is heard of a PLAY lies before its frame, in 1/LAG_STEPS of a frame."""
    came: NDArray[np.uint8]
    """Which descriptions of the frame played, skipped or healed with came, as `frame.py` numbers them."""
    target_us: NDArray[np.int32]
    """Delay after the fastest frame that the jitter buffer aimed at."""
    level_us: NDArray[np.int32]
    """Delay at which the slot was played."""
    held: NDArray[np.uint16]
    """Frames in the jitter buffer after the decision."""
    # What it sent.
    sent_bits: NDArray[np.uint8]
    """Bits of each frame; 0 for one that was silence and not coded."""
    packet_sent_ns: Ints
    """When each media packet left."""
    packet_came_ns: Ints
    """When it (its first copy) came to the other end; LOST, DROPPED or UNDERWAY."""
    packet_bytes: NDArray[np.int32]
    """UDP payload, without the 28 bytes of headers."""
    packet_frame: NDArray[np.int32]
    """The newest frame that it can hold: the one whose coding made it leave."""
    stats: dict[str, int]
    """Counters of `core.stats.Stats`."""
    buffer_steps: tuple[tuple[int, int], ...]
    """How long played frames waited: (0.1 ms steps, count)."""
    events: tuple[tuple[int, str], ...]
    """What the session told: time and text."""
    noise: tuple[tuple[int, bytes], ...] = ()
    """What the other end told of its background: the row from which on it holds, and the bytes of `frame.Pause`."""

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return sum(array.nbytes for array in _arrays(self).values())

    @property
    def sample(self) -> Ints:
        """Of each decision, the first of the loudspeaker's samples that it fills, or the next one does."""
        fills = SAMPLES[self.kind]
        samples: Ints = np.cumsum(fills) - fills
        return samples

    @property
    def pull_ns(self) -> Ints:
        """When each decision was made."""
        return self.loudspeaker.samples_ns(self.sample)


@dataclass(frozen=True)
class Trace:
    """One call: two ends, and the scenario as plain values."""

    scenario: dict[str, Any]
    seconds: float
    ends: tuple[EndTrace, EndTrace]

    def digest(self) -> str:
        """SHA-256 (hex) over all integers of both ends: equal for equal runs, on every machine."""
        total = hashlib.sha256()
        for end in self.ends:
            total.update(json.dumps(_plain(end), sort_keys=True).encode())
            for name, array in _arrays(end).items():
                total.update(name.encode() + array.astype(array.dtype.newbyteorder("<")).tobytes())
        return total.hexdigest()

    def mouth_to_ear_ns(self, listener: int) -> Ints:
        """Of each PLAY decision of end `listener`: from the capture of its first sample to its leaving the loudspeaker.

        As `voicelink demo` measures it: hop and look-ahead, coding, bundling, network, jitter buffer, decoding, and one
        period of the sound card.
        """
        end, other = self.ends[listener], self.ends[1 - listener]
        played = end.kind == PLAY
        lag_ns = end.lag[played].astype(np.int64) * frames_to_ns(1) // LAG_STEPS
        leave = end.pull_ns[played] + lag_ns + OUTPUT_LATENCY_NS + round(self.scenario["decode_ms"] * NS_PER_MS)
        captured = other.microphone.frames_ns(end.index[played].astype(np.int64))
        delays: Ints = leave - captured
        return delays

    def summary(self) -> dict[str, Any]:
        """The figures of both ends together under the names that every command uses."""
        stats = [end.stats for end in self.ends]
        total = {name: stats[0][name] + stats[1][name] for name in stats[0]}
        wire_bytes = sum(int(end.packet_bytes.sum()) + 28 * len(end.packet_bytes) for end in self.ends)
        delays = np.concatenate([self.mouth_to_ear_ns(end) for end in (0, 1)]) / NS_PER_MS
        return {
            "bitrate_bps": self._mean_bitrate(),
            "wire_kbps": round(wire_bytes * 8 / 2 / self.seconds / 1000, 3),
            **total,
            "late": total["frames_late"],
            "healed": total["frames_healed"],
            "interruptions": total["interruption_count"],
            "mouth_to_ear_ms": _percentiles(delays),
            "buffer_ms": self._buffer_ms(),
            "target_ms": round(total["target_ns"] / max(total["slots"], 1) / NS_PER_MS, 2),
            "seconds": self.seconds,
            "trace_digest": self.digest(),
        }

    def save(self, path: Path) -> None:
        """Write as a compressed .npz. Raises OSError."""
        arrays = {f"{i}_{name}": a for i, end in enumerate(self.ends) for name, a in _arrays(end).items()}
        about = {"format": _FORMAT, "scenario": self.scenario, "seconds": self.seconds}
        text = json.dumps(about | {"ends": [_plain(end) for end in self.ends]})
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read what `save` wrote. Raises ConfigError for anything else."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                about = json.loads(stored["about"].tobytes())
                if about["format"] != _FORMAT:
                    raise ValueError(f"format {about['format']}")
                ends = tuple(_end(plain, i, stored) for i, plain in enumerate(about["ends"]))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError(f"{path} is not a trace of this version ({error})") from None
        return cls(about["scenario"], about["seconds"], ends)  # type: ignore[arg-type]

    def _mean_bitrate(self) -> int:
        bits = np.concatenate([end.sent_bits for end in self.ends])
        values, counts = np.unique(bits, return_counts=True)
        rates = [bitrate_bps(int(v)) * int(n) for v, n in zip(values, counts, strict=True)]
        return round(sum(rates) / len(bits)) if len(bits) else 0

    def _buffer_ms(self) -> dict[str, float]:
        counts: dict[int, int] = {}
        for end in self.ends:
            for step, count in end.buffer_steps:
                counts[step] = counts.get(step, 0) + count
        total = sum(counts.values())
        merged = Samples(counts, total, sum(k * n for k, n in counts.items()) * NS_PER_MS // 10)
        return {"mean": round(merged.mean_ms, 2), "p95": round(merged.quantile_ms(0.95), 2)}


# ---- helpers -------------------------------------------------------------------------------------
_ARRAYS: Final = (
    *("kind", "index", "bits", "lag", "came", "target_us", "level_us", "held", "sent_bits"),
    *("packet_sent_ns", "packet_came_ns", "packet_bytes", "packet_frame"),
)


def _arrays(end: EndTrace) -> dict[str, NDArray[Any]]:
    return {name: getattr(end, name) for name in _ARRAYS}


def _plain(end: EndTrace) -> dict[str, Any]:
    """What is no array, in the types that JSON gives back."""
    clocks = [[c.start_ns, c.ppb] for c in (end.microphone, end.loudspeaker)]
    steps, events = [list(s) for s in end.buffer_steps], [list(e) for e in end.events]
    plain = {"name": end.name, "clocks": clocks, "stats": end.stats, "buffer_steps": steps, "events": events}
    return plain | ({"noise": [[row, noise.hex()] for row, noise in end.noise]} if end.noise else {})


def _end(plain: dict[str, Any], number: int, stored: Any) -> EndTrace:
    arrays = {name: stored[f"{number}_{name}"] for name in _ARRAYS}
    microphone, loudspeaker = (Clock(*values) for values in plain["clocks"])
    steps = tuple((int(k), int(n)) for k, n in plain["buffer_steps"])
    events = tuple((int(t), str(text)) for t, text in plain["events"])
    noise = tuple((int(row), bytes.fromhex(text)) for row, text in plain.get("noise", ()))
    return EndTrace(
        plain["name"], microphone, loudspeaker, **arrays, stats=plain["stats"], buffer_steps=steps, events=events,
        noise=noise,
    )  # fmt: skip


def _percentiles(values: NDArray[np.float64]) -> dict[str, float | None]:
    if not len(values):
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
