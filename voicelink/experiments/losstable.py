"""The loss table: voicelink beside Opus at the same rate on the wire, under the same losses in time.

A loss pattern says of each 20 ms whether what is sent then is lost, so packets of any length meet the same bad times.
Rates count IPv4, UDP and every other header of media packets: voicelink's are sealed, Opus' RTP packets are not. The
path takes 40 ms and has no jitter. `SETTINGS` and `OPUS` say how each codec uses its rate in each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.repeat import fill
from voicelink.audio.resampler import resample
from voicelink.experiments import metrics, network, opus, words
from voicelink.experiments.clips import Clip, bundled, load_clips
from voicelink.experiments.losssettings import OPUS, SETTINGS, OpusSetting, Setting
from voicelink.experiments.peers import HEADER_BYTES
from voicelink.experiments.statistics import Row
from voicelink.sim.call import simulate
from voicelink.sim.loss import GilbertLoss
from voicelink.sim.render import aligned, render
from voicelink.sim.replay import LOST_ENTRY
from voicelink.sim.scenario import Scenario, scenario_from
from voicelink.sim.trace import Trace
from voicelink.units import SAMPLE_RATE_HZ, frames_to_ns

if TYPE_CHECKING:
    from voicelink.codec.courses import Codes

Sound = NDArray[np.float32]

WIRE_KBPS: Final = (9, 12, 16, 24)
STEP_MS: Final = 20
DELAY_MS: Final = 40.0
#: Longer than any call that is simulated here, so that no pattern comes round again.
_TAIL_S: Final = 10.0
#: Between two clips; and the loudspeaker's, which the delay of Opus gets as a call of ours has it.
_PAUSE_S: Final = 0.25
OUTPUT_MS: Final = frames_to_ns(1) / 1e6
LISTENER: Final = 1
WORDS: Final = "word_accuracy"
#: Bitrates that are tried until packets of varying size fill the rate.
_TRIES: Final = 6


@dataclass(frozen=True)
class Condition:
    """A share of loss, independent (`burst_ms` 0) or in bursts of so much time on average."""

    loss: float
    burst_ms: int = 0

    @property
    def name(self) -> str:
        """As the table shows it."""
        share = f"{100 * self.loss:g} %"
        return share if not self.burst_ms else f"{share} in {self.burst_ms} ms"


CONDITIONS: Final = (
    *(Condition(loss) for loss in (0.0, 0.05, 0.1, 0.2, 0.3)),
    *(Condition(loss, burst) for loss in (0.1, 0.2) for burst in (60, 120)),
)


def pattern(condition: Condition, seed: int, seconds: float) -> tuple[int, ...]:
    """Entries as `sim.replay` takes them, one for each 20 ms."""
    steps = round((seconds + _TAIL_S) * 1000 / STEP_MS)
    if not condition.loss:
        return (0,) * steps
    burst = condition.burst_ms / STEP_MS if condition.burst_ms else 0.0
    process = GilbertLoss(condition.loss, burst, f"loss table {condition.burst_ms} {seed}")
    return tuple(LOST_ENTRY if process.lost() else 0 for _ in range(steps))


@lru_cache(4)
def speech(seed: int, seconds: float) -> Sound:
    """The bundled clips one after the other, another one first for each seed; float32 at 22 050 Hz."""
    return _in_turn([clip.speech for clip in _clips(seed)], seconds)


@lru_cache(4)
def clip_numbers(seed: int, seconds: float) -> NDArray[np.int8]:
    """Which clip each sample of `speech` is of, counted from 1; 0 in a pause; int8."""
    numbers = [np.full(len(clip.speech), n, np.float32) for n, clip in enumerate(_clips(seed), 1)]
    return np.rint(_in_turn(numbers, seconds)).astype(np.int8)


def ours(
    wire_kbps: int, conditions: Sequence[Condition], seed: int, seconds: float, codec: Any, judges: Sequence[str],
    rounds: int = 0,
) -> list[Row]:  # fmt: skip
    """Rows of voicelink under each condition, rendered together, with `rounds` of the encoder search."""
    said = speech(seed, seconds)
    chosen = [SETTINGS[wire_kbps, c.loss, c.burst_ms] for c in conditions]
    traces = [call(wire_kbps, c, s, seed, seconds) for c, s in zip(conditions, chosen, strict=True)]
    sounds = render(traces, said, codec, rounds=rounds, coded=_coded(seed, seconds, codec.model_id, rounds))
    rows = []
    for condition, setting, trace, sound in zip(conditions, chosen, traces, sounds, strict=True):
        told = network.figures(trace, LISTENER)
        reference, heard = aligned(trace.ends[LISTENER], said, sound)
        numbers, _ = aligned(trace.ends[LISTENER], clip_numbers(seed, seconds).astype(np.float32), sound)
        rows.append(
            _identity("voicelink", wire_kbps, condition, seed, setting.text)
            | {"wire_measured_kbps": told["wire_kbps"], "delay_ms": told["mouth_to_ear_p50_ms"]}
            | {"packet_loss": told["packet_loss"], "frame_loss": told["frame_loss"]}
            | _scores(judges, (reference, numbers, seed), heard, SAMPLE_RATE_HZ)
        )
    return rows


def call(wire_kbps: int, condition: Condition, setting: Setting, seed: int, seconds: float) -> Trace:
    """A simulated call with the losses of `condition`."""
    values = {"seconds": seconds, "delay_ms": DELAY_MS, "bitrate_bps": 5513, "wire_kbps": float(wire_kbps)}
    scenario: Scenario = scenario_from({"fixed": True} | values | setting.values())
    entries = pattern(condition, seed, seconds)
    # Seed 0 replays the pattern from its beginning.
    return simulate(replace(scenario, loss_model="trace", trace_interval_ms=float(STEP_MS), trace_data=entries, seed=0))


def opus_row(
    wire_kbps: int, condition: Condition, seed: int, seconds: float, judges: Sequence[str],
    setting: OpusSetting | None = None,
) -> Row:  # fmt: skip
    """The row of Opus under a condition, with its best setting there unless another is given."""
    setting = setting or OPUS[wire_kbps, condition.loss, condition.burst_ms]
    said, entries = speech(seed, seconds), pattern(condition, seed, seconds)
    packets, delay, redundant = _opus_packets(wire_kbps, setting, seed, seconds)
    lost = [entries[i * setting.packet_ms // STEP_MS] == LOST_ENTRY for i in range(len(packets))]
    arrived = [None if gone else packet for gone, packet in zip(lost, packets, strict=True)]
    heard = opus.decode(arrived, setting.packet_ms)[delay:][: round(len(said) * opus.RATE_HZ / SAMPLE_RATE_HZ)]
    wait_ms = setting.packet_ms if redundant else 0  # the redundancy of a packet is in the next one
    took_ms = setting.packet_ms + 1000 * delay / opus.RATE_HZ + DELAY_MS + wait_ms + OUTPUT_MS
    wire = sum(HEADER_BYTES + len(packet) for packet in packets) * 8 / (len(packets) * setting.packet_ms)
    return (
        _identity("opus", wire_kbps, condition, seed, setting.text)
        | {"wire_measured_kbps": round(wire, 3), "delay_ms": round(took_ms, 1)}
        | {"packet_loss": round(sum(lost) / len(lost), 5), "frame_loss": None}
        | _scores(judges, (said, clip_numbers(seed, seconds), seed), heard, opus.RATE_HZ)
    )


def find_opus(seed: int, seconds: float) -> dict[tuple[int, float, int], OpusSetting]:
    """The setting with the highest ESTOI in each cell, of all lengths, rates and redundancy; OPUS was made so."""
    found = {}
    for wire_kbps in WIRE_KBPS:
        for condition in CONDITIONS:
            told = sorted({0, 5, round(100 * condition.loss), 25}) if condition.loss else [0]
            tried = [
                setting
                for packet_ms in opus.PACKET_MS
                for setting in (OpusSetting(packet_ms, vbr=False), *(OpusSetting(packet_ms, p) for p in told))
                if setting.possible(wire_kbps)
            ]
            scores = [opus_row(wire_kbps, condition, seed, seconds, ["estoi"], s)["estoi"] or 0.0 for s in tried]
            found[wire_kbps, condition.loss, condition.burst_ms] = tried[int(np.argmax(scores))]
    return found


# ---- helpers -------------------------------------------------------------------------------------
@lru_cache(2)
def _coded(seed: int, seconds: float, model_id: str, rounds: int) -> dict[bytes, Codes]:
    """Where codes of a seed's speech are kept (see `render`): they are the same at every rate and loss."""
    return {}


@lru_cache(64)
def _opus_packets(wire_kbps: int, setting: OpusSetting, seed: int, seconds: float) -> tuple[list[bytes], int, bool]:
    """Packets that keep the rate on average, the codec's delay in samples, and whether any holds redundancy."""
    source = resample(speech(seed, seconds), SAMPLE_RATE_HZ, opus.RATE_HZ)
    room = asked = setting.payload_bytes(wire_kbps)
    kept: tuple[float, list[bytes], int] = (0.0, [], 0)
    for attempt in range(3 * _TRIES if setting.vbr else 1):
        packets, delay = opus.code(source, setting.packet_ms, asked, setting.expected_loss, vbr=setting.vbr)
        mean = sum(map(len, packets)) / len(packets)
        if kept[0] < mean <= room:
            kept = mean, packets, delay
        if 0.99 * room <= mean <= room or (kept[1] and attempt >= _TRIES):
            break
        asked = round(0.995 * asked * room / mean)
    return kept[1], kept[2], any(map(opus.has_redundancy, kept[1]))


def _identity(codec: str, wire_kbps: int, condition: Condition, seed: int, setting: str) -> Row:
    return {
        "codec": codec, "wire_kbps": wire_kbps, "condition": condition.name, "loss": condition.loss,
        "burst_ms": condition.burst_ms, "seed": seed, "setting": setting, "error": None,
    }  # fmt: skip


def _in_turn(parts: Sequence[Sound], seconds: float) -> Sound:
    """The parts with a pause after each, again and again until `seconds` are full."""
    pause = np.zeros(round(_PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    spoken = np.concatenate([sound for part in parts for sound in (part, pause)])
    return fill(spoken, round(seconds * SAMPLE_RATE_HZ))


def _clips(seed: int) -> list[Clip]:
    """The bundled clips, another one first for each seed."""
    names = list(bundled())
    first = seed % len(names)
    return load_clips([*names[first:], *names[:first]], bundled()[names[0]].parent, "loss table")


#: Speech at SAMPLE_RATE_HZ, the clip that each sample of it is of, and the seed.
_Said = tuple[Sound, NDArray[Any], int]


def _scores(names: Sequence[str], said: _Said, heard: Sound, rate: int) -> Row:
    found = metrics.score([name for name in names if name != WORDS], said[0], SAMPLE_RATE_HZ, heard, rate)
    if WORDS in names:
        found[WORDS] = _word_accuracy(said, heard, rate)
    return {name: round(value, 5) if np.isfinite(value) else None for name, value in found.items()}


def _word_accuracy(said: _Said, heard: Sound, rate: int) -> float:
    """1 - word errors a word: all clips of one language at a time, since a recogniser listens for one."""
    reference, numbers, seed = said
    languages = _languages(seed)
    there = resample(heard, rate, SAMPLE_RATE_HZ)[: len(reference)]
    wrong = total = 0
    for language in sorted(set(languages)):
        spoken = np.isin(numbers[: len(there)], [n for n, own in enumerate(languages, 1) if own == language])
        pair = [resample(sound[: len(there)][spoken], SAMPLE_RATE_HZ, 16_000) for sound in (reference, there)]
        more, words_said = words.word_errors_16k(pair[0], pair[1], language)
        wrong, total = wrong + more, total + words_said
    return max(0.0, 1 - wrong / total) if total else float("nan")


@cache
def _languages(seed: int) -> tuple[str, ...]:
    """Of each clip, as the recogniser finds it."""
    return tuple(words.transcribe(resample(clip.speech, SAMPLE_RATE_HZ, 16_000))[1] for clip in _clips(seed))
