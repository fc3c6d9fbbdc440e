"""A call through real sound devices: PulseAudio's null sinks, PortAudio, two processes; and the ruler that measures it.

`python -m tests.sound --minutes 10` holds such a call for longer. Skipped with the reason where there is no PulseAudio.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from tests.sound.delays import delays_ms, understood
from tests.sound.line import Heard, Line, clip, heard_of, report, talk, warm_up
from tests.sound.pulse import RATE_HZ, Pulse

pytest.importorskip("onnxruntime")
pytest.importorskip("pystoi")

MOUTH_TO_EAR_P95_MS = 200.0
ESTOI = 0.7
#: The machine may be busy with something else for a while: so many clips are said at most until one is heard well.
ROUNDS = 4


def test_the_ruler_finds_a_known_delay_through_the_codec() -> None:
    from voicelink import load_codec
    from voicelink.audio.resampler import resample

    codec, speech = load_codec(), clip(0)
    heard = resample(codec.decode(codec.encode(speech, RATE_HZ, bitrate_bps=5500)), RATE_HZ, RATE_HZ)
    for delay_ms in (0, 150):
        late = np.concatenate([np.zeros(delay_ms * RATE_HZ // 1000, np.float32), heard])
        found = delays_ms(speech, late, RATE_HZ)
        assert len(found) >= 3
        assert np.abs(found - delay_ms).max() <= 8
    assert understood(speech, late, RATE_HZ, 150) > 0.75
    assert understood(speech, late, RATE_HZ, 90) < 0.6


def test_the_ruler_finds_nothing_in_noise_and_silence() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, len(clip(0))).astype(np.float32)
    assert not len(delays_ms(clip(0), noise, RATE_HZ))
    assert not len(delays_ms(clip(0), np.zeros_like(noise), RATE_HZ))


def heard_well(pulse: Pulse, p95_ms: float) -> dict[str, Heard]:
    """Talk until what was heard is understood and quick in both rooms at once; AssertionError after `ROUNDS`.

    Skips the test where the machine has twice as much to do as it can: it then says nothing about the sound path.
    """
    found: list[str] = []
    for _ in range(ROUNDS):
        try:
            heard = heard_of(talk(pulse))
        except AssertionError as error:
            found.append(str(error))
            continue
        if all(what.estoi >= ESTOI and what.p95_ms <= p95_ms for what in heard.values()):
            return heard
        found.append(", ".join(f"{room}: ESTOI {h.estoi}, p95 {h.p95_ms:.0f} ms" for room, h in heard.items()))
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip(f"this machine is too busy for sound in time ({os.getloadavg()[0]:.1f} at work): {found[-1]}")
    raise AssertionError("; ".join(found))


@pytest.mark.timeout(400)
def test_a_call_through_real_devices_is_understood_and_quick(pulse: Pulse, tmp_path: Path) -> None:
    line = Line(pulse, tmp_path)
    try:
        line.wait_connected()
        warm_up(pulse)
        heard = heard_well(pulse, MOUTH_TO_EAR_P95_MS)
        figures = line.hang_up()
    finally:
        line.close()
    report(heard, figures)
    for end in figures.values():
        assert end["frames_sent"] > 500
        assert end["end"] == "hung up"


@pytest.mark.timeout(400)
def test_a_call_outlives_its_devices_and_takes_them_up_again(pulse: Pulse, tmp_path: Path) -> None:
    line = Line(pulse, tmp_path)
    try:
        line.wait_connected()
        talk(pulse)
        pulse.kill()
        for name in ("alice", "bob"):
            line.wait_for(name, "output device 'pulse' is gone", 15)
            line.wait_for(name, "input device 'pulse' is gone", 15)
        pulse.start()
        for room in ("alice", "bob"):
            pulse.room(room)
        for name in ("alice", "bob"):
            line.wait_for(name, "output device 'pulse' is back", 15)
            line.wait_for(name, "input device 'pulse' is back", 15)
        warm_up(pulse)
        heard = heard_well(pulse, math.inf)
        figures = line.hang_up()
    finally:
        line.close()
    report(heard, figures)
