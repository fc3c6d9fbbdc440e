"""Peers: packets that fit the wire rate, the link's losses, and the delay that each decoder adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.experiments.speech import RATE_HZ, bundled_clip
from voicelink.audio.resampler import resample
from voicelink.errors import ConfigError
from voicelink.experiments import codec2, opus, peers
from voicelink.experiments.alignment import align
from voicelink.experiments.metrics import estoi
from voicelink.sim.scenario import Scenario

SPEECH = resample(*bundled_clip(), RATE_HZ)[: 3 * RATE_HZ]
NEEDS = {"opus": "av", "codec2": "pycodec2"}


def needs(codec: str) -> None:
    try:
        peers.require_peer(codec)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("codec", NEEDS)
@pytest.mark.parametrize("wire_kbps", [64.0, 16.5, 12.0, 9.0, 5.0])
def test_packets_fit_the_wire_rate_headers_counted(codec: str, wire_kbps: float) -> None:
    chosen = peers.plan(codec, wire_kbps)
    if chosen is None:
        assert wire_kbps < 8.7
        return
    assert chosen.wire_kbps == pytest.approx((28 + 12 + chosen.payload_bytes) * 8 / chosen.packet_ms)
    assert chosen.wire_kbps <= wire_kbps + 1e-9
    assert chosen.bitrate_bps >= (6000 if codec == "opus" else 700)


def test_shorter_packets_where_the_rate_allows() -> None:
    lengths = [chosen.packet_ms for rate in (9.0, 12.0, 16.5, 30.0) if (chosen := peers.plan("opus", rate))]
    assert lengths == [120, 60, 40, 20]
    assert peers.plan("opus", 8.0) is None


@pytest.mark.parametrize(
    ("codec", "wire_kbps", "least"), [("opus", 30.0, 0.85), ("codec2", 30.0, 0.65), ("codec2", 4.0, 0.5)]
)
def test_a_peer_s_speech_lies_where_it_was_said(codec: str, wire_kbps: float, least: float) -> None:
    needs(codec)
    chosen = peers.plan(codec, wire_kbps)
    assert chosen is not None
    call = peers.call(chosen, SPEECH, Scenario(), 60.0)
    heard = resample(call.heard, call.rate_hz, RATE_HZ)
    assert abs(align(SPEECH, heard, RATE_HZ).shift_samples) <= RATE_HZ * 0.005
    assert estoi(SPEECH, RATE_HZ, call.heard, call.rate_hz) > least
    assert call.figures["frame_loss"] == 0


@pytest.mark.parametrize("codec", NEEDS)
def test_losses_and_lateness_of_the_link_are_heard(codec: str) -> None:
    needs(codec)
    chosen = peers.plan(codec, 20.0)
    assert chosen is not None
    calls = {
        name: peers.call(chosen, SPEECH, replace(Scenario(), seed=3, **link), 20.0)
        for name, link in (
            ("good", {}),
            ("lossy", {"loss": 0.3}),
            ("late", {"jitter_ms": 100.0, "reorder": True}),
        )
    }
    loss = {name: call.figures["frame_loss"] for name, call in calls.items()}
    assert loss["good"] == 0
    assert 0.1 < loss["lossy"] < 0.5
    assert calls["late"].figures["late_loss"] == loss["late"] > 0.1
    again = peers.call(chosen, SPEECH, replace(Scenario(), seed=3, loss=0.3), 20.0)
    np.testing.assert_array_equal(again.heard, calls["lossy"].heard)
    scores = {name: estoi(SPEECH, RATE_HZ, call.heard, call.rate_hz) for name, call in calls.items()}
    assert scores["good"] > max(scores["lossy"], scores["late"])


def test_opus_packets_have_the_size_asked_for() -> None:
    needs("opus")
    packets, delay = opus.code(resample(SPEECH, RATE_HZ, opus.RATE_HZ), 40, 42, 10)
    assert {len(packet) for packet in packets} == {42}
    assert 0 < delay < opus.RATE_HZ // 50
    assert opus.version().startswith("libopus")


def test_codec2_goes_silent_after_two_repetitions() -> None:
    needs("codec2")
    frames = codec2.code(resample(SPEECH, RATE_HZ, codec2.RATE_HZ), 3200)
    heard = codec2.decode([*frames[:50], None, None, None, None], 3200).reshape(-1, 160)
    assert heard[50:52].any()
    assert not heard[52:].any()
