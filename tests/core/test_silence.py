from __future__ import annotations

from voicelink.core.silence import ENDLESS, MOST_KEPT, Silence


def test_a_silence_lasts_until_the_talk_spurt() -> None:
    silence = Silence()
    silence.begin(10)
    assert silence.open_from == 10
    assert [silence.left(i) for i in (9, 10, 500)] == [0, ENDLESS, ENDLESS]
    silence.end(30, newest=9)
    assert silence.open_from is None
    assert [silence.left(i) for i in (9, 10, 29, 30)] == [0, 20, 1, 0]


def test_frames_that_came_after_the_announcement_shorten_it() -> None:
    silence = Silence()
    silence.begin(10)
    silence.begin(12)  # said again
    silence.end(30, newest=7)
    assert silence.left(8) == 22  # what lies between the newest frame and the spurt was never sent


def test_an_unannounced_silence_begins_after_the_newest_frame() -> None:
    silence = Silence()
    silence.end(30, newest=9)
    assert silence.left(10) == 20
    silence.end(31, newest=30)  # no gap at all
    assert silence.left(31) == 0


def test_a_packet_after_the_silence_ends_it_and_one_from_before_does_not() -> None:
    silence = Silence()
    silence.begin(10)
    silence.resume(8)
    assert silence.open_from == 10
    silence.resume(40)
    assert (silence.open_from, silence.left(10), silence.left(40)) == (None, 30, 0)


def test_what_is_kept_is_bounded() -> None:
    silence = Silence()
    for i in range(100):
        silence.end(10 * i + 9, newest=10 * i)
    assert len(silence._gaps) == MOST_KEPT
    silence.clear()
    assert silence.left(995) == 0
