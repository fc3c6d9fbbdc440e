from __future__ import annotations

import numpy as np
import pytest
from voicelink_client.tones import LEVEL, Tone, TonePlayer, round_of


def frequencies(sound: np.ndarray) -> set[int]:
    """Where its spectrum has peaks, to 25 Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hz = np.fft.rfftfreq(len(sound), 1 / 22_050)
    return {round(h / 25) * 25 for h in hz[spectrum > 0.5 * spectrum.max()]}


@pytest.mark.parametrize("tone", Tone)
def test_a_round_is_as_long_as_it_says_not_too_loud_and_does_not_click(tone: Tone) -> None:
    sound = round_of(tone)
    assert len(sound) == pytest.approx(tone.seconds * 22_050, abs=len(tone.value.parts))
    assert np.abs(sound).max() == pytest.approx(LEVEL, rel=0.02)
    assert np.abs(np.diff(np.concatenate((sound, sound)))).max() < 1.5 * LEVEL * 2 * np.pi * 1000 / 22_050


def test_every_tone_is_another_one() -> None:
    assert len({round_of(tone).tobytes() for tone in Tone}) == len(Tone)


def test_ring_back_and_busy_have_the_frequency_of_a_telephone() -> None:
    for tone in (Tone.RING_BACK, Tone.BUSY, Tone.HANG_UP):
        assert frequencies(round_of(tone)[:3_000]) == {425}


@pytest.mark.parametrize("tone", Tone)
@pytest.mark.parametrize("count", [256, 1_000])
def test_blocks_follow_each_other_and_repeat_only_where_they_are_to(tone: Tone, count: int) -> None:
    sound, player = round_of(tone), TonePlayer(tone)
    total = 2 * len(sound) + count
    heard = np.concatenate([player.block(count) for _ in range(-(-total // count))])
    assert heard.dtype == np.float32
    assert heard[: len(sound)] == pytest.approx(sound)
    again = heard[len(sound) : 2 * len(sound)]
    assert again == pytest.approx(sound if tone.value.repeats else np.zeros(len(sound)))
