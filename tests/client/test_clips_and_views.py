from __future__ import annotations

import json

import numpy as np
import pytest
from voicelink_client.call import CallStatus
from voicelink_client.clips import bundled_clips, clip_for
from voicelink_client.phone import PhoneState
from voicelink_client.sentences import describe
from voicelink_client.views import LineView, meter

from voicelink.audio.repeat import fill
from voicelink.core.events import Agreed, CallMissed, Condition, Connected, Ended, EndReason, Registered, Security
from voicelink.core.stats import Stats
from voicelink.secure.identity import Trust, fingerprint

AGREED = Agreed("m-1", 8, 32, 2, 1, 8)


def test_two_bundled_clips_of_speech() -> None:
    clips = bundled_clips()
    assert len(clips) == 2
    for clip in clips:
        said = clip_for(clip, 8.0)
        assert len(said) == 8 * 22_050
        assert 0.05 < np.abs(said).max() <= 1.0


def test_a_short_clip_is_said_again_and_the_end_fades() -> None:
    said = fill(np.ones(22_050, np.float32), 5 * 22_050)
    loud = said > 0.5
    starts = np.flatnonzero(loud[1:] & ~loud[:-1]) / 22_050
    assert starts == pytest.approx([0.3, 2.0, 3.7], abs=0.01)
    assert said[-1] == 0.0
    assert len(fill(np.ones(100_000, np.float32), 10_000)) == 10_000


def test_lines_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        view = LineView(as_json)
        view.ready(("127.0.0.1", 4000))
        security = Security("bob@127.0.0.1:5000", bytes(32), Trust.NEW, ("melon", "river", "piano", "cedar"), True)
        view.event(Connected("bob", AGREED, ("127.0.0.1", 5000), relayed=True, security=security))
        view.status(CallStatus(Stats(), 1.0, -20.0, -30.0))
        view.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "socket at 127.0.0.1:4000"
    assert lines[1] == (
        "connected with bob, through the relay at 127.0.0.1:5000, with a key not seen before "
        f"({fingerprint(bytes(32))}) and the same passphrase; "
        "nobody listens in if both of you see: MELON RIVER PIANO CEDAR"
    )
    events = [json.loads(line) for line in lines[3:]]
    assert [event["event"] for event in events] == ["ready", "Connected", "status"]
    assert events[2]["frames_played"] == 0


def test_every_end_is_said() -> None:
    assert describe(Ended(EndReason.BUSY, True, "bob is busy")) == "ended: bob is busy"
    assert describe(Ended(EndReason.BUSY, True, "")) == "ended: busy"
    missed = describe(CallMissed("bob", EndReason.INCOMPATIBLE, "no common model"))
    assert missed == "bob called in vain: no common model"
    assert "bob at 192.0.2.1:1" in describe(Registered("bob", ("192.0.2.1", 1), ("192.0.2.2", 2)))


def test_a_lost_peer_and_its_return_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView(as_json=True)
    for state in (PhoneState.TALKING, PhoneState.RECONNECTING, PhoneState.RECONNECTING, PhoneState.TALKING):
        view.status(CallStatus(Stats(), 3.0, -20.0, -30.0, state=state, own=Condition(muted=True)))
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(e["event"], e["state"]) for e in events] == [
        ("status", "talking"), ("state", "reconnecting"), ("state", "talking"),
    ]  # fmt: skip
    assert (events[0]["muted"], events[0]["peer_muted"]) == (True, False)


def test_meter() -> None:
    assert meter(-99.0).plain == "▯" * 12
    assert meter(-30.0).plain == "▮" * 6 + "▯" * 6
    assert meter(3.0).plain == "▮" * 12
