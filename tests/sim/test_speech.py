"""Pauses in simulated calls: what they save, and that what is heard is what a call would play."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voicelink_client.playout import Playout

from tests.codec.test_pauses import talk
from tests.sim.test_render import decisions, slots_of
from voicelink.codec.api import Codec
from voicelink.sim.call import simulate
from voicelink.sim.render import render, speech_of
from voicelink.sim.scenario import scenario_from
from voicelink.sim.speech import pattern
from voicelink.sim.trace import COMFORT, Trace
from voicelink.units import SAMPLE_RATE_HZ


def call(**values: Any) -> Trace:
    return simulate(scenario_from({"seconds": 60.0, "delay_ms": 20.0, **values}))


def test_a_conversation_takes_less_than_half_with_pauses_left_out() -> None:
    plain, spared = call(seed=1).summary(), call(seed=1, dtx=True).summary()
    assert plain["wire_kbps"] == pytest.approx(19.5, abs=0.3)
    assert spared["wire_kbps"] < 0.52 * plain["wire_kbps"]  # 39 % of the time somebody talks
    assert (spared["frames_concealed"], spared["late"], spared["packets_lost"]) == (0, 0, 0)
    assert spared["mouth_to_ear_ms"]["p95"] < plain["mouth_to_ear_ms"]["p95"] + 13


def test_loss_in_pauses_is_healed_by_the_next_notice() -> None:
    plain, spared = (call(loss=0.1, seed=2, fixed=True, dtx=dtx).summary() for dtx in (False, True))
    assert spared["frames_concealed"] < 0.6 * plain["frames_concealed"]
    assert spared["resyncs"] == 0


def test_the_pattern_has_the_means_that_were_asked_for() -> None:
    scenario = scenario_from({"dtx": True, "talk_s": 2.0, "pause_s": 1.0, "seed": 3})
    silent = np.array([bool(noise) for noise in islice(pattern(scenario, 0), 1_000_000)])
    assert silent.mean() == pytest.approx(1 / 3, abs=0.02)
    assert len(silent) / np.count_nonzero(np.diff(silent.astype(int)) == 1) == pytest.approx(3 * 86.13, rel=0.05)
    other = [bool(noise) for noise in islice(pattern(scenario, 1), 2_000)]
    assert other != silent[:2_000].tolist()
    assert not any(islice(pattern(scenario_from({}), 0), 2_000))


def test_a_trace_keeps_what_was_told_of_the_background(tmp_path: Path) -> None:
    trace = call(dtx=True, seconds=5.0)
    assert trace.ends[1].noise
    assert (trace.ends[0].sent_bits == 0).any()
    trace.save(tmp_path / "trace.npz")
    assert Trace.load(tmp_path / "trace.npz").digest() == trace.digest()


def test_what_is_heard_is_what_a_call_would_play(harmonic_codec: Codec) -> None:
    clip, _ = talk(1e-3)
    clip = clip[: 6 * SAMPLE_RATE_HZ]
    said = speech_of(clip)
    assert 100 < sum(bool(noise) for noise in said) < 250
    scenario = scenario_from({"dtx": True, "seconds": 6.0, "loss": 0.05, "seed": 4})
    trace = simulate(scenario, speech=(said, said))
    assert (trace.ends[1].kind == COMFORT).sum() > 80
    (heard,) = render([trace], clip, harmonic_codec)
    encoder = harmonic_codec.encoder(bits=35, pauses=True, rounds=0)
    frames = encoder.hear(np.concatenate([clip, np.zeros(1024, np.float32)]))
    told = iter(decisions(trace.ends[1], frames))
    playout = Playout(harmonic_codec.decoder(), lambda *, quiet=False: next(told))
    live = np.concatenate([playout.next_slot()[1] for _ in range(slots_of(trace.ends[1]))])
    assert np.abs(heard - live).max() < 1e-4
    assert np.abs(live).max() > 0.01
