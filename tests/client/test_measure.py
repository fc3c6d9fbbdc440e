from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from voicelink_client.measure import aligned, both_ends, estoi, merged_buffer_ms, mouth_to_ear_ms, percentiles
from voicelink_client.streams import PacedSink, PacedSource
from voicelink_client.timeline import Timeline, TimelineLog

from voicelink.core.events import Conceal, Play, Stretch, Wait
from voicelink.frame import Frame
from voicelink.units import frames_to_ns

RATE = 22_050


def timeline(tmp_path: Path, slots: list[object], capture_ns: int, playout_ns: int) -> Timeline:
    """Slot m leaves m + 1 frames after the loudspeaker's start."""
    log = TimelineLog()
    for m, decision in enumerate(slots):
        log(decision, playout_ns + frames_to_ns(m + 1))
    return saved(tmp_path, log, capture_ns, playout_ns)


def saved(tmp_path: Path, log: TimelineLog, capture_ns: int, playout_ns: int, lost: int = 0) -> Timeline:
    """With ten blocks said, of which those numbered 1 .. `lost` were lost to an overrun."""
    source, sink = PacedSource(np.zeros(0, np.float32)), PacedSink()
    source.started_ns, sink.started_ns = capture_ns, playout_ns
    source.blocks.extend([0, *range(lost + 1, 10)])
    log.save(tmp_path / "t.npz", source, sink)
    return Timeline.load(tmp_path / "t.npz")


def play(index: int) -> Play:
    return Play(Frame(index, 8, b"\x00"))


def speech(seconds: float) -> np.ndarray:
    """Noise whose loudness moves as speech does."""
    n = round(seconds * RATE)
    slow = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / RATE)) ** 2
    return (0.3 * slow * np.random.default_rng(7).standard_normal(n)).astype(np.float32)


def test_mouth_to_ear_counts_from_capture_to_the_loudspeaker(tmp_path: Path) -> None:
    sender = timeline(tmp_path, [Wait()], capture_ns=1_000_000_000, playout_ns=0)
    receiver = timeline(tmp_path, [Wait(), Wait(), play(0), Conceal(1, 1), play(2)], 0, playout_ns=1_050_000_000)
    delays = mouth_to_ear_ms(sender, receiver)
    assert delays == pytest.approx([50 + 3 * 11.61, 50 + 3 * 11.61], abs=0.01)


def test_alignment_follows_the_frame_numbers(tmp_path: Path) -> None:
    said = np.arange(256 * 6, dtype=np.float32)
    slots = [Wait(), play(0), play(1), Stretch(), Conceal(2, 1), play(4), play(9)]
    receiver = timeline(tmp_path, slots, 0, playout_ns=12_345)
    heard = np.concatenate([np.full(256, m, np.float32) for m in range(len(slots))])
    reference, degraded = aligned(said, heard, receiver, receiver)
    assert reference[::256].tolist() == [0, 256, 512, 1024]
    assert degraded[::256].tolist() == [1, 2, 4, 5]


def test_alignment_survives_silence_that_the_sink_put_in(tmp_path: Path) -> None:
    log = TimelineLog()
    log(play(0), frames_to_ns(1))
    log(play(1), frames_to_ns(5))  # after an underrun: slots 1 to 3 were silent
    receiver = saved(tmp_path, log, 0, 0)
    heard = np.repeat(np.array([7, 0, 0, 0, 8], np.float32), 256)
    _, degraded = aligned(np.zeros(512, np.float32), heard, receiver, receiver)
    assert degraded[::256].tolist() == [7, 8]


def test_frames_refer_to_what_was_said_even_where_blocks_were_lost(tmp_path: Path) -> None:
    sender = saved(tmp_path, TimelineLog(), 0, 0, lost=3)  # frame 1 is of block 4
    receiver = timeline(tmp_path, [play(0), play(1)], 0, playout_ns=frames_to_ns(9))
    heard = np.repeat(np.array([7, 8], np.float32), 256)
    reference, _ = aligned(np.arange(256 * 6, dtype=np.float32), heard, sender, receiver)
    assert reference[::256].tolist() == [0, 1024]
    assert mouth_to_ear_ms(sender, receiver) == pytest.approx([10 * 11.61, 7 * 11.61], abs=0.01)


def test_estoi_tells_good_from_bad_and_says_nothing_of_too_little() -> None:
    said = speech(3)
    noisy = said + 0.3 * np.random.default_rng(1).standard_normal(len(said)).astype(np.float32)
    good, bad = estoi(said, said), estoi(said, noisy)
    assert good == pytest.approx(1.0, abs=1e-3)
    assert bad is not None
    assert bad < 0.6
    assert estoi(said[:1_000], said[:1_000]) is None
    assert estoi(said[:0], said[:0]) is None


def test_percentiles_and_merged_buffers() -> None:
    assert percentiles(np.zeros(0)) == {"p50": None, "p95": None}
    assert percentiles(np.arange(101.0)) == {"p50": 50.0, "p95": 95.0}
    merged = merged_buffer_ms([[(100, 1)], [(300, 3)]])  # 10 ms once, 30 ms three times
    assert merged == {"mean": 25.0, "p95": 30.0}


def test_both_ends_add_counts_and_take_the_worse_cpu() -> None:
    from voicelink_client.measure import COUNTS

    one = dict.fromkeys(COUNTS, 3) | {"bitrate_bps": 3015, "wire_kbps": 10.0, "cpu_rtf": 0.2, "seconds": 5.0}
    one["target_ms"] = 12.0
    other = dict.fromkeys(COUNTS, 4) | {"bitrate_bps": 3015, "wire_kbps": 12.0, "cpu_rtf": 0.3, "seconds": 5.1}
    other["target_ms"] = 13.0
    both = both_ends({"a": one, "b": other})
    assert both["frames_played"] == both["late"] == both["healed"] == both["interruptions"] == 7
    assert both["target_ms"] == 12.5
    assert (both["wire_kbps"], both["cpu_rtf"], both["bitrate_bps"]) == (11.0, 0.3, 3015)
