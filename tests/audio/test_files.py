from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voicelink.audio.files import read_audio, require_writable, write_audio, write_bytes
from voicelink.audio.wav import WavWriter
from voicelink.errors import AudioError


def tone(n: int = 4_410, rate: int = 22_050) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "kwargs", "tolerance"),
    [
        ("a.wav", {}, 1e-4),
        ("a.flac", {}, 1e-4),
        ("f.wav", {"subtype": "FLOAT"}, 0),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.1),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.1),
    ],
)
def test_formats(tmp_path: Path, name: str, kwargs: dict, tolerance: float) -> None:
    rate = 48_000
    soundfile.write(tmp_path / name, tone(48_000, rate), rate, **kwargs)
    speech, found = read_audio(tmp_path / name)
    assert (found, speech.dtype, speech.ndim) == (rate, np.float32, 1)
    assert len(speech) == pytest.approx(48_000, abs=1)
    assert np.abs(speech[:40_000] - tone(48_000, rate)[:40_000]).max() <= tolerance


def test_first_of_two_channels_and_a_word_about_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "s.wav", np.stack([tone(), 0 * tone()], axis=1), 22_050)
    speech, _ = read_audio(tmp_path / "s.wav")
    assert np.abs(speech - tone()).max() < 1e-4
    assert "first of 2 channels" in caplog.text


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: d / "none.wav", "no such file"),
        (lambda d: d, "not a file"),
        (lambda d: written(d / "e.wav", b""), "is empty"),
        (lambda d: written(d / "t.wav", b"dear diary\n" * 50), "cannot be read as audio"),
        (lambda d: written(d / "t.raw", b"\x00\x01" * 50), "cannot be read as audio"),
    ],
)
def test_what_is_not_audio(tmp_path: Path, make, says: str) -> None:
    path = make(tmp_path)
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path: Path, bad: float) -> None:
    speech = tone()
    speech[7] = bad
    soundfile.write(tmp_path / "n.wav", speech, 22_050, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"1 samples are not numbers .*, first at 7"):
        read_audio(tmp_path / "n.wav")


def test_no_samples_and_absurd_rates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "z.wav", np.zeros(0, np.float32), 22_050)
    soundfile.write(tmp_path / "slow.wav", tone(), 1_000)
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(tmp_path / "z.wav")
    with pytest.raises(AudioError, match="1000 Hz is outside"):
        read_audio(tmp_path / "slow.wav")


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "h.flac", tone(), 22_050)
    data = bytearray((tmp_path / "h.flac").read_bytes())
    data[21] |= 0x0F  # STREAMINFO, total samples (36 bits): 2**36 - 2**32 more
    (tmp_path / "h.flac").write_bytes(bytes(data))
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="cannot be read as audio"):
            read_audio(tmp_path / "h.flac")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_write_clips_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_audio(tmp_path / "o.wav", np.array([0.0, 0.5, 2.0, -2.0], np.float32), 16_000)
    samples, rate = soundfile.read(tmp_path / "o.wav", dtype="int16")
    assert (rate, samples.tolist()) == (16_000, [0, 16384, 32767, -32767])
    assert [p.name for p in tmp_path.iterdir()] == ["o.wav"]


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    for name, kind in (("o.wav", "WAV"), ("o.flac", "FLAC"), ("p.FLAC", "FLAC")):
        write_audio(tmp_path / name, np.array([0.0, 0.5, 2.0, -2.0], np.float32), 16_000)
        assert soundfile.info(tmp_path / name).format == kind
        samples, rate = soundfile.read(tmp_path / name, dtype="int16")
        assert (rate, samples.tolist()) == (16_000, [0, 16384, 32767, -32767])
    for name in ("o.mp3", "o"):
        with pytest.raises(AudioError, match=r"let it end in \.wav or \.flac"):
            write_audio(tmp_path / name, tone(), 16_000)
    with pytest.raises(AudioError, match=r"at 700000 Hz.*use \.wav"):
        write_audio(tmp_path / "q.flac", tone(), 700_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.flac", "o.wav", "p.FLAC"]


def test_write_into_a_missing_folder(tmp_path: Path) -> None:
    for write in (lambda p: write_audio(p, tone(), 22_050), lambda p: write_bytes(p, b"x")):
        with pytest.raises(AudioError, match="cannot be written"):
            write(tmp_path / "no" / "o.wav")


def test_a_recording_cut_off_by_a_crash_can_be_read(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "r.wav", 8_000, channels=2)
    for _ in range(25):
        writer.write(np.full((800, 2), 0.25, np.float32))
    # No close: the file as a crash would leave it.
    samples, _ = soundfile.read(tmp_path / "r.wav", always_2d=True)
    assert samples.shape[0] >= 20_000 - 8_000
    writer.close()
    writer.close()
    samples, _ = soundfile.read(tmp_path / "r.wav", always_2d=True)
    assert samples.shape == (20_000, 2)


def test_a_recording_stops_at_the_formats_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicelink.audio.wav.MAX_DATA_BYTES", 1_000)
    writer = WavWriter(tmp_path / "r.wav", 8_000)
    for _ in range(3):
        writer.write(np.zeros(300, np.float32))
    writer.close()
    assert writer.full
    assert soundfile.info(tmp_path / "r.wav").frames == 300


@pytest.mark.parametrize("name", [".", "/", "folder", "file.txt/o.wav", "no/o.wav", "x" * 300, "/dev/null"])
def test_what_cannot_become_a_file_is_said_before_and_at_writing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("x")
    for write in (require_writable, lambda p: write_bytes(p, b"x"), lambda p: write_audio(p, tone(), 22_050)):
        with pytest.raises(AudioError, match="cannot be written"):
            write(Path(name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", "folder"]
    assert Path("/dev/null").is_char_device()


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(AudioError, match="is the input itself"):
        require_writable(tmp_path / "b", tmp_path / "a")
    require_writable(tmp_path / "c", tmp_path / "a")


def test_a_path_too_long_to_read(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be read"):
        read_audio(tmp_path / ("x" * 300))
