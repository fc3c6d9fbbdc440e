from __future__ import annotations

import subprocess
import sys
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


KILLED = """
import sys, numpy as np
import subprocess
import sys
from pathlib import Path
from voicelink_client.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), 22_050)
t = np.arange(256) / 22_050
for n in range(700):
    recorder.said((0.25 * np.sin(2 * np.pi * 441 * (t + n * 256 / 22_050))).astype(np.float32))
    recorder.heard(np.full(256, -0.5, np.float32))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_process_killed_in_the_middle_leaves_a_file_that_plays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"call{suffix}"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    samples, rate = soundfile.read(path)
    said_s = 700 * 256 / 22_050
    assert (rate, samples.shape[1]) == (22_050, 2)
    assert said_s - 1.5 < len(samples) / rate <= said_s
    assert np.abs(samples[:, 0]).max() == pytest.approx(0.25, abs=0.01)
    assert samples[100:, 1] == pytest.approx(-0.5, abs=0.001)
    assert path.stat().st_mode & 0o077 == 0


def test_a_flac_that_was_closed_holds_every_sample(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.flac", 22_050)
    for _ in range(300):
        recorder.said(block(0.25))
        recorder.heard(block(-0.5))
    recorder.close()
    recorder.close()
    samples, _ = soundfile.read(tmp_path / "r.flac")
    assert samples.shape == (300 * 256, 2)
    assert samples[-1] == pytest.approx([0.25, -0.5], abs=1e-3)


def test_a_flac_on_a_full_disk_ends_the_recording_alone(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    path = tmp_path / "full.flac"
    path.symlink_to("/dev/full")
    recorder = Recorder(path, 22_050)
    rng = np.random.default_rng(1)
    for _ in range(400):
        noise = rng.uniform(-1, 1, 256).astype(np.float32)
        recorder.said(noise)
        recorder.heard(noise)
    recorder.close()
    assert "the recording ends here" in caplog.text


def test_a_recording_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"\.wav or a \.flac"):
        Recorder(tmp_path / "r.mp3", 22_050)
