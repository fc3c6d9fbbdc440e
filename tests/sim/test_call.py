"""Whole calls under the virtual clock."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicelink.errors import ConfigError
from voicelink.sim.call import simulate
from voicelink.sim.scenario import scenario_from
from voicelink.sim.trace import CONCEAL, DROPPED, HEAL, LOST, PLAY, SKIP, Trace

#: Traces of version 0.1, equal on CPython 3.11, 3.12 and 3.13. They change with the protocol and with the machines in
#: core/ (never by themselves): then take the new ones from this test's output, and say so in the commit.
DIGESTS = {
    ("loss", 1): "6913923fb7bbfc1cfd515f16aabd50a01267035a1964c4430a700b5c60d80525",
    ("moderate", 1): "cbdf5fa97baeb65637bddac338527e9d3196f6204619d3df0c2d302f3f5a7812",
    ("international", 2): "745f11f8f4e0412268d7526329752a01a3e511b345d4de0b387a58fdf7de4355",
    ("spiky", 3): "fed1598ad79507f35d823e8bd1cef5f454a70965f0552b777ec177be2f42218f",
    ("g1050-F", 4): "843530df086f4a09c34692ed06fc7fc3b83660b992ba63ae5171eeabb38eb653",
    ("wifi relay", 5): "89113fd3f9469ffced453952d2549efb44f92f7d57a58eea29e4f13c4e19ccc0",
}


def call(**values: Any) -> Trace:
    return simulate(scenario_from({"seconds": 10.0, "fixed": True, **values}))


def named(name: str, seed: int) -> Trace:
    if name == "loss":
        return call(loss=0.1, seed=seed)
    profile, _, relay = name.partition(" ")
    return call(profile=profile, relay=bool(relay), seed=seed, seconds=15.0, redundancy=2, drift_ppm=300.0)


@pytest.mark.parametrize(("name", "seed"), DIGESTS)
def test_digests_are_what_they_were(name: str, seed: int) -> None:
    assert named(name, seed).digest() == DIGESTS[name, seed]


def test_the_seed_decides() -> None:
    one, same, other = (call(loss=0.1, seed=seed).digest() for seed in (1, 1, 2))
    assert one == same != other


def test_hash_order_does_not_matter() -> None:
    text = (
        "from voicelink.sim.call import simulate\nfrom voicelink.sim.scenario import scenario_from\n"
        "print(simulate(scenario_from({'seconds': 3, 'loss': 0.1, 'relay': True})).digest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", text], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_no_model_runtime_is_loaded() -> None:
    text = (
        "import sys\nfrom voicelink.sim.call import simulate\nfrom voicelink.sim.scenario import scenario_from\n"
        "simulate(scenario_from({'seconds': 1}))\n"
        "assert not {'onnxruntime', 'torch', 'soxr', 'voicelink.codec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_a_perfect_path_plays_every_frame_once() -> None:
    trace = call()
    for end, other in zip(trace.ends, trace.ends[::-1], strict=True):
        played = end.index[np.isin(end.kind, (PLAY, SKIP))]
        assert np.array_equal(played, np.arange(len(played)))
        assert (end.kind == SKIP).sum() <= 3  # of what the start held too much
        assert len(other.sent_bits) - len(played) < 15  # those still on their way at the end
        assert not (end.kind == CONCEAL).any()
        assert set(end.bits[end.kind == PLAY].tolist()) == {35}
    summary = trace.summary()
    assert summary["packets_lost"] == summary["frames_concealed"] == summary["late"] == 0
    assert 8 < summary["buffer_ms"]["mean"] < 20
    # 34.8 ms codec, 1 coding, 11.6 bundling, 0 network, 0 to 11.6 until the next slot, 2 decoding, 11.6 sound card
    assert 60 < summary["mouth_to_ear_ms"]["p50"] < 75


def test_the_path_delay_is_heard() -> None:
    near, far = (call(delay_ms=d).summary()["mouth_to_ear_ms"]["p50"] for d in (0.0, 100.0))
    assert far - near == pytest.approx(100, abs=12)  # to a slot of 11.6 ms


def test_losses_are_counted_alike_by_link_and_session() -> None:
    trace = call(loss=0.1, burst=2, seconds=60.0)
    for sender, receiver in ((0, 1), (1, 0)):
        came = trace.ends[sender].packet_came_ns
        lost = int((came == LOST).sum())
        assert trace.ends[receiver].stats["packets_lost"] == pytest.approx(lost, abs=3)
        assert lost / len(came) == pytest.approx(0.1, abs=0.03)


def test_redundancy_heals() -> None:
    bare, twice = (call(loss=0.1, redundancy=k, seconds=30.0).summary() for k in (0, 2))
    assert twice["frames_concealed"] < 0.3 * bare["frames_concealed"]
    assert twice["frames_recovered"] > 0 == bare["frames_recovered"]


def test_a_bottleneck_drops_and_delays() -> None:
    trace = call(rate_kbps=12.0, queue_ms=200.0)
    end = trace.ends[0]
    assert (end.packet_came_ns == DROPPED).mean() == pytest.approx(1 - 12 / 19.2, abs=0.06)
    came = end.packet_came_ns > 0
    assert (end.packet_came_ns - end.packet_sent_ns)[came].max() > 150_000_000


def test_a_slow_sound_card_makes_the_other_end_skip_and_itself_stretch() -> None:
    trace = call(drift_ppm=-1000.0, seconds=60.0)  # the second end is fast
    expected = pytest.approx(60 * 1000e-6 * 86.13, abs=3)
    skipped, inserted = ([end.stats[f"frames_{what}"] for end in trace.ends] for what in ("skipped", "inserted"))
    assert skipped[0] - inserted[0] - 3 == expected  # three more: what the start held too much
    assert inserted[1] - skipped[1] + 3 == expected
    assert not any((end.kind == CONCEAL).any() for end in trace.ends)
    assert len(trace.ends[1].sent_bits) > len(trace.ends[0].sent_bits)


def test_late_frames_heal() -> None:
    trace = call(delay_ms=50.0, jitter_ms=25.0, jitter_model="pareto", reorder=True, target_late_rate=0.05)
    summary = trace.summary()
    assert 0 < summary["healed"] <= summary["late"]
    assert sum(int((end.kind == HEAL).sum()) for end in trace.ends) == summary["healed"]


def test_the_late_rate_is_chosen() -> None:
    path = {"delay_ms": 20.0, "jitter_ms": 20.0, "jitter_model": "gamma", "seconds": 60.0}
    safe, quick = (call(target_late_rate=rate, **path).summary() for rate in (0.002, 0.1))
    assert quick["mouth_to_ear_ms"]["p50"] < safe["mouth_to_ear_ms"]["p50"] - 30
    assert safe["frames_concealed"] < 0.2 * quick["frames_concealed"]


def test_a_fixed_delay_stays() -> None:
    trace = call(playout_delay_ms=60, jitter_ms=30.0)
    assert {int(us) for us in trace.ends[1].target_us if us} == {60_000}
    assert 90 < trace.summary()["mouth_to_ear_ms"]["p50"] - 20 < 115


def test_bitrate_and_conditions_change_when_said() -> None:
    changes = [{"at_s": 4.0, "bitrate_bps": 1400, "loss": 0.5}, {"at_s": 8.0, "bitrate_bps": 5500, "loss": 0.0}]
    trace = call(changes=changes)
    bits = trace.ends[0].sent_bits
    assert [int(bits[int(t * 86.13)]) for t in (3.5, 5.0, 9.0)] == [35, 16, 64]
    sent, lost = trace.ends[0].packet_sent_ns / 1e9, trace.ends[0].packet_came_ns == LOST
    assert not lost[(sent < 4) | (sent > 8)].any()
    assert lost[(sent > 4) & (sent < 8)].mean() == pytest.approx(0.5, abs=0.12)


def test_the_way_back_can_differ() -> None:
    trace = call(loss=0.2, back={"loss": 0.0}, seconds=30.0)
    assert (trace.ends[0].packet_came_ns == LOST).mean() == pytest.approx(0.2, abs=0.05)
    assert not (trace.ends[1].packet_came_ns == LOST).any()


def test_a_relay_is_between() -> None:
    trace = call(relay=True, loss=0.05)
    assert [text for _, text in trace.ends[1].events][:2] == ["Registered", "IncomingCall"]
    assert trace.summary()["frames_played"] > 1500


def test_damaged_and_doubled_packets_break_nothing() -> None:
    trace = call(corrupt=0.2, duplicate=0.2, overtake=0.05, delay_ms=60.0)
    stats = trace.summary()
    assert stats["packets_duplicated"] > 100
    assert stats["packets_invalid"] + stats["packets_unexpected"] > 0
    assert stats["packets_reordered"] > 10


def test_silence_ends_the_call_and_the_trace_tells() -> None:
    trace = call(seconds=20.0, loss=0.9, burst=1000.0, silence_timeout_ms=3000, seed=2)
    assert any(text.startswith("Ended: silence") for end in trace.ends for _, text in end.events)


def test_a_call_too_short_for_a_packet_has_a_trace() -> None:
    trace = call(seconds=0.1, frames_per_packet=8)
    assert trace.summary()["packets_sent"] == 0
    assert trace.summary()["mouth_to_ear_ms"] == {"p50": None, "p95": None}


def test_a_trace_comes_back_from_its_file(tmp_path: Path) -> None:
    trace = call(loss=0.1, redundancy=1, seconds=3.0)
    trace.save(tmp_path / "t.npz")
    back = Trace.load(tmp_path / "t.npz")
    assert back.digest() == trace.digest()
    assert back.summary() == trace.summary()
    assert back.scenario == trace.scenario
    (tmp_path / "no.npz").write_bytes(b"PK not a trace")
    for name in ("no.npz", "none.npz"):
        with pytest.raises(ConfigError, match=name):
            Trace.load(tmp_path / name)


def test_a_digest_covers_every_number() -> None:
    trace = call(loss=0.1, seconds=2.0)
    before = trace.digest()
    for name in (
        "kind",
        "index",
        "bits",
        "lag",
        "came",
        "target_us",
        "level_us",
        "held",
        "sent_bits",
        "packet_sent_ns",
        "packet_came_ns",
        "packet_bytes",
    ):
        array = getattr(trace.ends[1], name)
        array[-1] += 1
        assert trace.digest() != before, name
        array[-1] -= 1
    assert trace.digest() == before


def test_memory_grows_by_the_trace_alone() -> None:
    """What a run needs beside its trace is the same for four times the length."""
    call(seconds=1.0, loss=0.05)
    beside = []
    for seconds in (30.0, 120.0):
        tracemalloc.start()
        trace = call(seconds=seconds, loss=0.05, redundancy=1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        beside.append(peak - sum(end.nbytes for end in trace.ends))
    assert beside[1] < beside[0] + 500_000


def test_frames_repeated_behind_a_burst_survive_it() -> None:
    near, far = (call(loss=0.1, burst=4, redundancy=2, redundancy_distance=d, seconds=60.0).summary() for d in (0, 14))
    assert far["frames_concealed"] < 0.65 * near["frames_concealed"]
    assert far["mouth_to_ear_ms"]["p50"] > near["mouth_to_ear_ms"]["p50"] + 50  # which is what it costs


def test_a_wire_budget_is_kept() -> None:
    trace = call(wire_kbps=12.0, frames_per_packet=4, redundancy=4, bitrate_bps=5500, seconds=20.0)
    assert 11.0 < trace.summary()["wire_kbps"] <= 12.0
    assert set(trace.ends[0].sent_bits.tolist()) == {20}
