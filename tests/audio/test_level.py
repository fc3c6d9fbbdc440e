from __future__ import annotations

import numpy as np
import pytest

from voicelink.audio.level import FLOOR_DBFS, LevelMeter, to_dbfs


def test_a_full_scale_sine_reads_minus_three_and_zero() -> None:
    meter = LevelMeter(22_050)
    sine = np.sin(2 * np.pi * 441 * np.arange(66_150) / 22_050).astype(np.float32)
    for block in np.array_split(sine, 300):
        meter.push(block)
    assert meter.rms_dbfs == pytest.approx(-3.01, abs=0.05)
    assert meter.peak_dbfs == pytest.approx(0.0, abs=0.1)


def test_silence_and_no_samples() -> None:
    meter = LevelMeter(22_050)
    meter.push(np.zeros(0, np.float32))
    meter.push(np.zeros(256, np.float32))
    assert (meter.rms_dbfs, meter.peak_dbfs) == (FLOOR_DBFS, FLOOR_DBFS)
    assert to_dbfs(0.0) == FLOOR_DBFS


def test_the_peak_falls_slowly() -> None:
    meter = LevelMeter(22_050)
    meter.push(np.ones(10, np.float32))
    meter.push(np.zeros(22_050, np.float32))
    assert meter.peak_dbfs == pytest.approx(-11.8, abs=0.01)
    assert meter.rms_dbfs < -40
