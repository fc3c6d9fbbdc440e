from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from voicelink_client.recorder import MAX_APART_SAMPLES, Recorder

from voicelink.errors import AudioError


def block(value: float, n: int = 256) -> np.ndarray:
    return np.full(n, value, np.float32)


def test_two_sides_side_by_side(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.wav", 22_050)
    for _ in range(10):
        recorder.said(block(0.25))
        recorder.heard(block(-0.5))
    recorder.said(block(0.25, 100))
    recorder.close()
    recorder.close()
    samples, rate = soundfile.read(tmp_path / "r.wav")
    assert (rate, samples.shape) == (22_050, (2_660, 2))
    assert samples[:2_560].mean(axis=0) == pytest.approx([0.25, -0.5], abs=1e-3)
    assert samples[2_560:].mean(axis=0) == pytest.approx([0.25, 0.0], abs=1e-3)


def test_a_side_that_stops_is_filled_up_and_does_not_pile_up(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.wav", 48_000)
    for _ in range(300):
        recorder.heard(block(0.5))
    written = soundfile.info(tmp_path / "r.wav").frames
    assert 300 * 256 - MAX_APART_SAMPLES - 22_050 <= written <= 300 * 256
    recorder.close()
    assert soundfile.info(tmp_path / "r.wav").frames == 300 * 256


def test_a_disk_that_fails_ends_the_recording_and_not_the_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "r.wav", 22_050)

    def full(self: object, samples: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("voicelink_client.recorder.WavWriter.write", full)
    for _ in range(3):
        recorder.said(block(0.1))
        recorder.heard(block(0.1))
    recorder.close()
    assert caplog.text.count("No space left on device") == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be written"):
        Recorder(tmp_path / "none" / "r.wav", 22_050)
