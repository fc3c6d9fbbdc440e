"""Rendering against the streaming decoder, decision by decision, as a call's playout runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voicelink_client.playout import Playout

from tests.models import speech_like
from voicelink.codec.api import Codec, load_codec
from voicelink.codec.bits import unpack_code
from voicelink.codec.courses import encode_courses
from voicelink.codec.stream import CALL_SEARCH_ROUNDS
from voicelink.core.events import ComfortNoise, Conceal, Heal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.frame import BOTH_CAME, FIRST_CAME, SECOND_CAME, Frame, Pause
from voicelink.sim.call import simulate
from voicelink.sim.render import aligned, render
from voicelink.sim.scenario import scenario_from
from voicelink.sim.trace import COMFORT, CONCEAL, HEAL, KINDS, PLAY, SKIP, STRETCH, WAIT, EndTrace, Trace
from voicelink.units import FRAME_SAMPLES, LAG_STEPS

SECONDS = 3.0
ALL = list(range(8))
CONDITIONS: list[dict[str, Any]] = [
    {},
    {"loss": 0.2, "burst": 3, "seed": 1},
    {"loss": 0.3, "redundancy": 2, "redundant_bits": 10, "seed": 2},
    {"drift_ppm": -30_000.0, "loss": 0.1},  # skips and stretches
    {"drift_ppm": 30_000.0},
    {"loss": 0.6, "burst": 30, "seed": 3},  # long gaps fade to comfort noise
    {
        "delay_ms": 50.0,
        "jitter_ms": 50.0,
        "jitter_model": "pareto",
        "reorder": True,
        "target_late_rate": 0.2,
        "seed": 6,
    },
    {"changes": [{"at_s": 1.0, "bitrate_bps": 1000}, {"at_s": 2.0, "bitrate_bps": 5500}], "loss": 0.1},
]


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return [simulate(scenario_from({"seconds": SECONDS, **values})) for values in CONDITIONS]


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return speech_like(int(SECONDS * 22_050))


def code_frames(codec: Codec, clip: np.ndarray, bits: np.ndarray, rounds: int = CALL_SEARCH_ROUNDS) -> list[Frame]:
    """`clip`, and silence after it, through a streaming encoder: frame t of bits[t]."""
    samples = np.zeros((len(bits) + 2) * FRAME_SAMPLES, np.float32)
    samples[: min(len(clip), len(samples))] = clip[: len(samples)]
    encoder = codec.encoder(rounds=rounds)
    frames: list[Frame] = []
    for block in samples.reshape(-1, FRAME_SAMPLES):
        encoder.bits = int(bits[min(len(frames), len(bits) - 1)])
        frames += encoder.push(block)
    return frames


def code_twice(codec: Codec, clip: np.ndarray, count: int) -> list[Frame]:
    encoder = codec.encoder(rounds=1)
    encoder.describes_twice = True
    return encoder.push(np.concatenate([clip, np.zeros(count * FRAME_SAMPLES, np.float32)]))[:count]


def decisions(end: EndTrace, frames: Sequence[Frame | Pause]) -> list[PlayoutDecision]:
    """What the session decided, as it said it."""
    run, made, noises = 0, list[PlayoutDecision](), dict(end.noise)
    noise = b""
    columns = (end.kind, end.index, end.bits, end.lag, end.came)
    for row, (kind, index, bits, lag, came) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        run = run + 1 if kind == CONCEAL else 0
        noise = noises.get(row, noise)
        frame = frames[index if kind in (PLAY, SKIP, HEAL) else 0]
        assert isinstance(frame, Frame)
        frame = frame.truncated(bits or frame.bits)
        if came == SECOND_CAME and frame.second:
            frame = Frame(frame.index, frame.bits, frame.second, is_second=True)
        frame = frame if came == BOTH_CAME else replace(frame, second=b"")
        by_kind: dict[int, PlayoutDecision] = {
            PLAY: Play(frame, lag),
            SKIP: Skip(frame),
            HEAL: Heal(frame),
            CONCEAL: Conceal(index, run),
            COMFORT: ComfortNoise(index, noise),
            STRETCH: Stretch(),
            WAIT: Wait(),
        }
        made.append(by_kind[kind])
    return made


def slots_of(end: EndTrace) -> int:
    return int(((end.kind != SKIP) & (end.kind != HEAL)).sum())


def played_live(trace: Trace, clip: np.ndarray, codec: Codec, listener: int, *, twice: bool = False) -> np.ndarray:
    """Through the client's own playout, one decision after the other; `twice`: coded so, at 64 bits, in one round."""
    end = trace.ends[listener]
    bits = trace.ends[1 - listener].sent_bits
    frames = code_twice(codec, clip, len(bits)) if twice else code_frames(codec, clip, bits)
    told = iter(decisions(end, frames))
    playout = Playout(codec.decoder(), lambda *, quiet=False: next(told))
    return np.concatenate([playout.next_slot()[1] for _ in range(slots_of(end))])


@pytest.fixture(scope="module")
def harmonic(harmonic_folder: Path) -> Codec:
    return load_codec(harmonic_folder, "torch")


@pytest.mark.parametrize(
    ("kind", "engine", "which"),
    [("harmonic", "torch", ALL), ("harmonic", "onnx", ALL), ("bigvgan", "torch", [3, 5]), ("bigvgan", "onnx", [3])],
)
def test_equals_the_calls_own_playout(
    kind: str, engine: Any, which: list[int], traces: list[Trace], clip: np.ndarray, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    codec, live = load_codec(folder, engine), load_codec(folder, "onnx")
    chosen = [traces[i] for i in which]
    for trace, sound in zip(chosen, render(chosen, clip, codec), strict=True):
        expected = played_live(trace, clip, live, 1)
        assert sound.shape == expected.shape
        assert np.abs(sound - expected).max() < 1e-4
        assert np.abs(expected).max() > 0.01


def test_second_descriptions_sound_as_in_a_call(clip: np.ndarray, harmonic: Codec) -> None:
    """What each decision of the trace tells of its frame, given to a call's playout as the frame itself."""
    values = {"loss": 0.3, "redundancy": 1, "redundancy_copies": 2, "redundancy_distance": 3, "fixed": True, "seed": 4}
    scenario = scenario_from({**values, "playout_delay_min_ms": 120, "seconds": SECONDS})
    trace = simulate(scenario)
    end = trace.ends[1]
    played = end.kind == PLAY
    assert set(end.came[played].tolist()) == {FIRST_CAME, BOTH_CAME, SECOND_CAME}
    assert 0.3 < (end.came[played] == BOTH_CAME).mean() < 0.9
    once, twice = (render([trace], clip, harmonic, rounds=rounds)[0] for rounds in (0, 1))
    live = load_codec(harmonic.info.folder, "onnx")
    assert np.abs(twice - played_live(trace, clip, live, 1, twice=True)).max() < 1e-4
    assert np.abs(once - played_live(trace, clip, live, 1)).max() < 1e-4


def test_every_decision_occurs_in_these_traces(traces: list[Trace]) -> None:
    kinds = np.concatenate([trace.ends[1].kind for trace in traces])
    assert set(kinds.tolist()) == set(range(len(KINDS))) - {COMFORT}  # a call in a scenario never announces silence


def test_either_end_can_listen(traces: list[Trace], clip: np.ndarray, harmonic: Codec) -> None:
    live = load_codec(harmonic.info.folder, "onnx")
    (sound,) = render([traces[3]], clip, harmonic, listener=0)
    assert np.abs(sound - played_live(traces[3], clip, live, 0)).max() < 1e-4


def test_one_trace_sounds_as_among_many(traces: list[Trace], clip: np.ndarray, harmonic: Codec) -> None:
    told: list[float] = []
    together = render(traces, clip, harmonic, progress=told.append)
    (alone,) = render([traces[1]], clip, harmonic)
    assert np.abs(together[1] - alone).max() < 1e-4
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_clip_is_coded_once_for_equal_bits(
    traces: list[Trace],
    clip: np.ndarray,
    harmonic: Codec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coded: list[int] = []
    step = harmonic.engine.encode_step

    def noted(mel: Any, *rest: Any) -> Any:
        coded.append(len(mel))
        return step(mel, *rest)

    monkeypatch.setattr(harmonic.engine, "encode_step", noted)
    chosen = [traces[i] for i in (0, 1, 2, 5)]
    render(chosen, clip, harmonic)
    assert set(coded) == {1}, "one course of bits"
    assert len(coded) == max(len(trace.ends[0].sent_bits) for trace in chosen)


def test_no_traces_are_no_sound(clip: np.ndarray, harmonic: Codec) -> None:
    assert render([], clip, harmonic) == []


def test_alignment_is_by_frame(traces: list[Trace], clip: np.ndarray) -> None:
    """What a listener would hear of a perfect codec stands exactly against what was said."""
    for trace in traces:
        end = trace.ends[1]
        heard = np.zeros(int(end.sample[-1]) + FRAME_SAMPLES, np.float32)
        for kind, index, first, lag in zip(end.kind, end.index, end.sample, end.lag, strict=True):
            if kind in (PLAY, CONCEAL):
                at = max(0, index * FRAME_SAMPLES - int(lag) * FRAME_SAMPLES // LAG_STEPS)
                piece = clip[at : at + FRAME_SAMPLES]
                heard[first : first + len(piece)] = piece
        said, got = aligned(end, clip, heard)
        assert np.array_equal(said, got)
        assert len(said) > 0.8 * len(clip)


def test_a_simulated_call_codes_as_a_call_does(traces: list[Trace], clip: np.ndarray, harmonic: Codec) -> None:
    """Without the encoder search, which files and the API use."""
    trace = traces[0]
    sent = trace.ends[0].sent_bits
    plain, searched = (code_frames(harmonic, clip, sent, rounds) for rounds in (CALL_SEARCH_ROUNDS, 2))
    assert [frame.payload for frame in plain] != [frame.payload for frame in searched]
    courses = [sent, sent[:100], np.full(len(sent), 9, np.uint8)]
    for made, course in zip(encode_courses(harmonic, clip, courses), courses, strict=True):
        expected = code_frames(harmonic, clip, course, CALL_SEARCH_ROUNDS)
        np.testing.assert_array_equal(made.first, np.stack([unpack_code(frame) for frame in expected]))
