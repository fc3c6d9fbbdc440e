from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from voicelink_client.streams import PacedSink, PacedSource, file_source, null_source

from voicelink.errors import AudioError
from voicelink.units import frames_to_ns

T0 = 5_000_000_000


def ramp(n: int) -> np.ndarray:
    return (np.arange(n) / 10_000).astype(np.float32)


def test_a_block_can_be_read_once_its_last_sample_was_captured() -> None:
    source = PacedSource(ramp(600))
    source.start(T0)
    assert source.read(T0 + frames_to_ns(1) - 1) is None
    assert source.due_ns(T0) == T0 + frames_to_ns(1)
    first = source.read(T0 + frames_to_ns(1))
    assert first is not None
    assert first.tolist() == ramp(600)[:256].tolist()
    assert source.read(T0 + frames_to_ns(1)) is None


def test_after_the_end_there_is_silence_forever() -> None:
    source = PacedSource(ramp(300))
    source.start(T0)
    blocks = [source.read(T0 + frames_to_ns(k + 1)) for k in range(4)]
    assert np.concatenate(blocks).tolist() == [*ramp(300).tolist(), *[0.0] * (1024 - 300)]
    assert source.ended
    assert not null_source().ended


def test_a_reader_that_is_slow_catches_up_but_one_that_is_stuck_loses_sound() -> None:
    source = PacedSource(ramp(256 * 100))
    source.start(T0)
    late = T0 + frames_to_ns(20)
    assert sum(source.read(late) is not None for _ in range(30)) == 20
    much_later = T0 + frames_to_ns(90)
    assert source.read(much_later) is None
    assert source.overruns == 1
    assert source.due_ns(much_later) == T0 + frames_to_ns(91)


def test_the_sink_wants_a_block_one_frame_before_it_leaves(tmp_path: Path) -> None:
    sink = PacedSink(tmp_path / "o.wav")
    sink.start(T0)
    for k in range(5):
        now = T0 + frames_to_ns(k)
        assert not sink.wants(now - 1)
        assert sink.wants(now)
        assert sink.write(np.full(256, 0.1 * k, np.float32), now + 5_000_000) == T0 + frames_to_ns(k + 1)
    sink.close()
    samples, rate = soundfile.read(tmp_path / "o.wav")
    assert (rate, len(samples), sink.underruns) == (22_050, 5 * 256, 0)
    assert samples[::256] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-4)


def test_half_a_block_of_silence_moves_the_next_one_by_half() -> None:
    sink = PacedSink()
    sink.start(0)
    assert sink.write(np.zeros(128, np.float32), 0) == frames_to_ns(1)
    assert sink.due_ns(0) == frames_to_ns(1) // 2
    assert sink.write(np.zeros(256, np.float32), sink.due_ns(0)) == frames_to_ns(3) // 2
    assert sink.due_ns(0) == frames_to_ns(3) // 2
    assert sink.underruns == 0


def test_a_late_block_leaves_a_gap_as_a_sound_card_would(tmp_path: Path) -> None:
    sink = PacedSink(tmp_path / "o.wav")
    sink.start(T0)
    block = np.full(256, 0.5, np.float32)
    assert sink.write(block, T0) == T0 + frames_to_ns(1)
    # Slot 1 leaves at 2 frames; handed over a little after 3, it goes into slot 3, which leaves at 4.
    assert sink.write(block, T0 + frames_to_ns(3) + 1) == T0 + frames_to_ns(4)
    assert sink.underruns == 1
    assert not sink.wants(T0 + frames_to_ns(4) - 1)
    sink.close()
    samples, _ = soundfile.read(tmp_path / "o.wav")
    assert (samples[::256] > 0.4).tolist() == [True, False, False, True]


def test_files_of_any_rate_and_places_that_cannot_be_written(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "i.wav", np.ones(8_000) * 0.1, 8_000)
    source = file_source(tmp_path / "i.wav")
    source.start(T0)
    total = 0
    while not source.ended:
        block = source.read(T0 + frames_to_ns(1_000_000) if total else T0 + frames_to_ns(1))
        total += 1 if block is None else len(block)
    assert source.overruns == 1
    with pytest.raises(AudioError, match="cannot be written"):
        PacedSink(tmp_path / "none" / "o.wav")
