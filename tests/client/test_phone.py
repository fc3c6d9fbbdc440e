"""The telephone's states and sounds, and what keys and knobs do, without a call."""

from __future__ import annotations

import asyncio

import pytest
from voicelink_client.controls import LATE_RATES, Controls
from voicelink_client.phone import TABLE, Phone, PhoneInput, PhoneState
from voicelink_client.tones import Tone

from voicelink.core.events import (
    Agreed,
    Condition,
    Connected,
    Ended,
    EndReason,
    Event,
    IncomingCall,
    PeerChanged,
    PeerRinging,
    Security,
)
from voicelink.errors import AudioError, LocalProtocolError
from voicelink.secure.identity import Trust

AGREED = Agreed("m-1", 12, 44, 2, 1, 8)
SECURITY = Security("bob", bytes(32), Trust.NEW, ("melon", "river", "piano", "cedar"), False)
CONNECTED = Connected("bob", AGREED, ("192.0.2.1", 5), relayed=False, security=SECURITY)
INCOMING = IncomingCall("bob", ("192.0.2.1", 5), AGREED, SECURITY)


class Recorded:
    """A driver and an engine that remember."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.late_rates: list[float] = []
        self.gains: list[float] = []
        self.devices: list[tuple[str, str]] = []

    def set_condition(self, condition: Condition) -> None:
        self.conditions.append(condition)

    def set_late_rate(self, share: float) -> None:
        self.late_rates.append(share)

    def set_gain(self, gain: float) -> None:
        self.gains.append(gain)

    def change_input(self, text: str) -> None:
        self.devices.append(("input", text))

    def change_output(self, text: str) -> None:
        raise AudioError(f"no {text}")


def phone(*events: Event, listen: bool = False) -> Phone:
    made = Phone()
    made.move(PhoneInput.LISTEN if listen else PhoneInput.DIAL)
    for event in events:
        made.take(event)
    return made


def in_call() -> tuple[Controls, Recorded]:
    controls, told = Controls(), Recorded()
    controls.phone = phone(CONNECTED)
    controls.agreed = AGREED
    controls.attach(told, told)
    return controls, told


# ---- states and sounds ---------------------------------------------------------------------------
@pytest.mark.parametrize("state", PhoneState)
@pytest.mark.parametrize("by", PhoneInput)
def test_what_cannot_happen_raises(state: PhoneState, by: PhoneInput) -> None:
    made = Phone()
    made.state = state
    if by in TABLE[state]:
        made.move(by)
        assert made.state is TABLE[state][by]
    else:
        with pytest.raises(LocalProtocolError, match="cannot"):
            made.move(by)


def test_calling() -> None:
    made = phone()
    assert (made.state, made.tone) == (PhoneState.CALLING, None)
    made.take(PeerRinging())
    assert (made.state, made.tone) == (PhoneState.RINGING_THERE, Tone.RING_BACK)
    made.take(CONNECTED)
    assert (made.state, made.tone, made.peer_name) == (PhoneState.TALKING, None, "bob")
    made.take(Ended(EndReason.HUNG_UP, True, "bye"))
    assert (made.state, made.tone) == (PhoneState.ENDED, Tone.HANG_UP)


def test_being_called() -> None:
    made = phone(listen=True)
    assert (made.state, made.tone) == (PhoneState.WAITING, None)
    made.take(INCOMING)
    assert (made.state, made.tone) == (PhoneState.RINGING_HERE, Tone.RING)
    made.answered = True
    assert made.tone is None
    made.take(CONNECTED)
    assert made.state is PhoneState.TALKING


def test_silence_and_hold() -> None:
    made = phone(CONNECTED)
    made.hears(True)
    made.hears(False)
    assert made.state is PhoneState.RECONNECTING
    made.hears(False)
    made.hears(True)
    assert made.state is PhoneState.TALKING
    made.take(PeerChanged(Condition(holding=True)))
    assert made.tone is Tone.HELD
    made.take(PeerChanged(Condition(muted=True)))
    assert (made.tone, made.peer.muted) == (None, True)


@pytest.mark.parametrize(
    ("reason", "by_peer", "tone"),
    [
        (EndReason.HUNG_UP, False, None),
        (EndReason.CANCELLED, False, None),
        (EndReason.CANCELLED, True, Tone.HANG_UP),
        (EndReason.REFUSED, True, Tone.BUSY),
        (EndReason.REFUSED, False, None),
        (EndReason.BUSY, True, Tone.BUSY),
        (EndReason.NO_ANSWER, False, Tone.BUSY),
        (EndReason.UNREACHABLE, False, Tone.NO_WAY),
        (EndReason.OFFLINE, True, Tone.NO_WAY),
        (EndReason.SILENCE, False, Tone.NO_WAY),
    ],
)
def test_the_last_sound_tells_how_it_ended(reason: EndReason, by_peer: bool, tone: Tone | None) -> None:
    assert phone(Ended(reason, by_peer, "")).tone is tone


# ---- keys and knobs ------------------------------------------------------------------------------
def test_switches_are_told_to_the_call() -> None:
    controls, told = in_call()
    assert controls.is_sending
    controls.toggle_mute()
    assert told.conditions[-1].muted
    assert not controls.is_sending
    controls.toggle_mute()
    controls.toggle_hold()
    assert (told.conditions[-1], told.gains[-1]) == (Condition(holding=True), 0.0)
    controls.toggle_hold()
    controls.toggle_deaf()
    assert (told.conditions[-1], told.gains[-1]) == (Condition(deaf=True), 0.0)
    controls.toggle_deaf()
    assert (told.conditions[-1], told.gains[-1]) == (Condition(), 1.0)


def test_what_was_set_before_the_call_holds_from_its_beginning() -> None:
    controls, told = Controls(), Recorded()
    controls.toggle_mute()
    controls.attach(told, told)
    assert told.conditions == [Condition(muted=True)]


def test_volume_goes_in_steps_and_stops_at_its_ends() -> None:
    controls, told = in_call()
    controls.turn_volume(2)
    assert (controls.volume_db, told.gains[-1]) == (6, pytest.approx(1.995, abs=0.01))
    for _ in range(30):
        controls.turn_volume(-1)
    assert controls.volume_db == -30
    controls.turn_volume(99)
    assert controls.volume_db == 12


def test_the_bitrate_moves_within_what_was_agreed() -> None:
    controls, told = in_call()
    seen = []
    for steps in (-1, -1, -1, -1, -1, 1, 1, 9):
        controls.turn_bitrate(steps)
        seen.append(controls.bits)
        assert told.conditions[-1].bits == controls.bits == controls.send_bits
    assert seen == [40, 32, 24, 16, 12, 16, 24, 44]
    controls.phone.take(PeerChanged(Condition(bits=20)))
    assert controls.send_bits == 20
    before = Controls()
    before.turn_bitrate(-1)
    assert before.bits == 64


def test_safety_goes_from_quick_to_safe() -> None:
    controls, told = in_call()
    controls.turn_safety(1)
    assert told.late_rates == [0.005]
    for _ in LATE_RATES:
        controls.turn_safety(1)
    assert (controls.late_rate, controls.safety) == (LATE_RATES[-1], 1.0)
    controls.turn_safety(-99)
    assert (controls.late_rate, controls.safety) == (LATE_RATES[0], 0.0)
    assert len(told.conditions) == 1  # the other end has nothing to do with it


def test_push_to_talk_sends_while_the_key_repeats() -> None:
    controls, told = in_call()
    controls.press_to_talk(0.0)
    assert not controls.is_talking
    controls.toggle_push_to_talk()
    assert told.conditions[-1].muted
    controls.press_to_talk(10.0)
    assert not told.conditions[-1].muted
    for at in (10.5, 10.53, 10.56, 11.5, 11.53):  # held: a pause, then fast
        controls.tick(at - 0.01)
        if at < 11:
            assert controls.is_sending, at
        controls.press_to_talk(at)
    controls.tick(11.9)
    assert controls.is_sending
    controls.tick(12.4)
    assert told.conditions[-1].muted
    controls.toggle_mute()
    controls.press_to_talk(13.0)
    assert told.conditions[-1].muted  # a muted end stays muted
    controls.toggle_mute()
    controls.toggle_push_to_talk()
    assert not told.conditions[-1].muted


def test_answer_refuse_and_hang_up() -> None:
    async def scenario() -> None:
        for key, expected in (("answer", True), ("refuse", False), ("hang_up", False)):
            controls = Controls()
            controls.phone = phone(INCOMING, listen=True)
            asked = asyncio.ensure_future(controls.decision())
            await asyncio.sleep(0)
            getattr(controls, key)()
            controls.answer()  # too late
            assert await asked is expected
            assert controls.phone.answered is expected
            assert not controls.hang_up_wanted.is_set()
        controls.hang_up()
        assert controls.hang_up_wanted.is_set()

    asyncio.run(scenario())


def test_another_device_or_why_not() -> None:
    controls, told = in_call()
    controls.change_device("input", "3")
    controls.change_device("output", "5")
    assert told.devices == [("input", "3")]
    assert controls.take_notices() == ["no 5"]
    assert controls.take_notices() == []


def test_nothing_is_told_after_the_end() -> None:
    controls, told = in_call()
    controls.phone.take(Ended(EndReason.HUNG_UP, True, ""))
    before = len(told.conditions)
    controls.toggle_mute()
    assert len(told.conditions) == before
