"""The call's screen under Textual's pilot: every key, both sizes, and what is shown in each state."""

from __future__ import annotations

import asyncio
import html
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("textual", reason="the screen needs textual: pip install 'voicelink[call]'")

from rich.console import Console
from voicelink_client import gauges
from voicelink_client.board import Board
from voicelink_client.controls import Controls
from voicelink_client.phone import PhoneState
from voicelink_client.screen import CallScreen, run_on_screen

from tests.client.board_samples import SAMPLES, SIZES, picture, ringing_here, talking, waiting
from tests.client.test_phone import Recorded
from voicelink.core.events import Condition, Ended, EndReason
from voicelink.errors import AudioError


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def shown(svg: str) -> list[str]:
    """The lines of text of a screenshot, from top to bottom."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return ["".join(text for _, text in sorted(parts)) for _, parts in sorted(rows.items())]


#: Every test of keys is made at both sizes.
both_sizes = pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")


def keys(
    board: Board,
    course: Callable[[Any, CallScreen], Awaitable[None]],
    clock: Clock | None = None,
    size: tuple[int, int] = SIZES[0],
) -> Recorded:
    """Press keys in `course(pilot, screen)`; what the call was told."""
    told = Recorded()
    board.controls.attach(told, told)

    async def main() -> None:
        screen = CallScreen(board, clock or Clock())
        async with screen.run_test(size=size) as pilot:
            await course(pilot, screen)

    asyncio.run(main())
    return told


@both_sizes
@pytest.mark.parametrize("name", SAMPLES)
def test_every_state_fits_on_the_screen(name: str, size: tuple[int, int]) -> None:
    board = SAMPLES[name]()
    lines = shown(asyncio.run(picture(board, size)))
    text = "\n".join(lines)
    for panel in ("voicelink", "figures", "last minute", "what happened"):
        assert f" {panel} " in text
    assert sum(line.count("╯") for line in lines) == 4  # no panel is cut
    assert gauges._state(board) in text
    width = size[0] - 4
    parts = [gauges.headline(board, width), gauges.levels(board, width), gauges.figures(board, width)]
    parts += [gauges.knobs(board.controls, width), gauges.minute(board, width, 5), gauges.latest(board, width, 2)]
    assert all(len(line) <= width for part in parts for line in part.plain.split("\n"))
    for line in gauges.keys(board.controls, size[0] - 2).plain.split("\n"):
        assert line.strip() in text
    newest = gauges.latest(board, width, 1).plain
    assert newest[:40] in text


def test_what_a_call_shows() -> None:
    text = "\n".join(shown(asyncio.run(picture(talking(), (80, 24)))))
    for piece in ("bob", "TALKING  01:14", "MELON RIVER PIANO CEDAR", "5.51 of 5.51 kbit/s", "21.7 out, 21.7 in kbit/s",
                  "lost", "late", "concealed", "round trip   24 ms", "about 104 ms", "-20 dB", "hang up"):  # fmt: skip
        assert piece in text, piece


def test_what_the_other_end_does_is_shown() -> None:
    board = talking()
    board.controls.phone.peer = Condition(muted=True, deaf=True)
    assert "MUTED DEAF" in gauges.levels(board, 76).plain
    board.controls.phone.peer = Condition(holding=True)
    assert "HELD BY THE OTHER" in gauges.headline(board, 76).plain
    assert "NOT SENT" in gauges.levels(board, 76).plain
    board.controls.phone.hears(False)
    assert "RECONNECTING" in gauges.headline(board, 76).plain


def test_our_meter_is_dim_while_nothing_is_sent() -> None:
    def dim() -> bool:
        return bool(gauges.levels(board, 76).get_style_at_offset(Console(), gauges.LABEL).dim)

    board = talking()
    assert not dim()
    board.controls.toggle_mute()
    assert (dim(), gauges.levels(board, 76).plain.count("MUTED")) == (True, 1)
    board.controls.toggle_mute()
    board.controls.phone.peer = Condition(holding=True)
    assert dim()
    board.controls.phone.peer = Condition()
    assert not dim()


@both_sizes
def test_answering_and_refusing(size: tuple[int, int]) -> None:
    for key, expected in (("a", True), ("enter", True), ("r", False), ("q", False), ("ctrl+c", False)):
        board = ringing_here()

        async def course(
            pilot: Any, screen: CallScreen, board: Board = board, key: str = key, yes: bool = expected
        ) -> None:
            asked = asyncio.ensure_future(board.ask(None))  # type: ignore[arg-type]
            await pilot.pause()
            await pilot.press(key)
            assert await asyncio.wait_for(asked, 2) is yes

        keys(board, course, size=size)


@both_sizes
@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_hanging_up(key: str, size: tuple[int, int]) -> None:
    board = talking()

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press(key)
        assert board.controls.hang_up_wanted.is_set()
        assert screen.is_running  # until the call has ended
        board.controls.phone.take(Ended(EndReason.HUNG_UP, False, ""))
        await pilot.press(key)
        assert screen._exit

    keys(board, course, size=size)


@both_sizes
def test_switches(size: tuple[int, int]) -> None:
    board = talking()
    controls = board.controls

    async def course(pilot: Any, screen: CallScreen) -> None:
        for key, name, words in (
            ("m", "muted", "MUTED"), ("d", "deaf", "NOT HEARD"), ("o", "holding", "ON HOLD"),
            ("p", "push_to_talk", "SPACE"),
        ):  # fmt: skip
            await pilot.press(key)
            assert getattr(controls, name), key
            await pilot.pause()
            assert words in "\n".join(shown(screen.export_screenshot())), key
            await pilot.press(key)
            assert not getattr(controls, name), key

    told = keys(board, course, size=size)
    assert [c for c in told.conditions if c != Condition()] == [
        Condition(muted=True), Condition(deaf=True), Condition(holding=True), Condition(muted=True),
    ]  # fmt: skip


@both_sizes
def test_knobs(size: tuple[int, int]) -> None:
    board = talking()
    controls = board.controls

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press("up", "plus", "down")
        assert controls.volume_db == 3
        await pilot.press("minus", "minus")
        assert controls.volume_db == -3
        await pilot.press("right", "right", "left")
        assert controls.late_rate == 0.005
        await pilot.press("[", "[", "[", "]")
        assert controls.bits == 48
        await pilot.pause()
        text = "\n".join(shown(screen.export_screenshot()))
        assert "volume -3 dB" in text
        assert "late at most 0.5 %" in text
        assert "4.13 of 5.51 kbit/s" in text

    told = keys(board, course, size=size)
    assert told.late_rates == [0.005, 0.002, 0.005]
    assert told.conditions[-1].bits == 48
    assert told.gains[-1] == pytest.approx(10 ** (-3 / 20))


@both_sizes
def test_the_space_bar_talks_while_it_is_held(size: tuple[int, int]) -> None:
    board, clock = talking(), Clock()

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press("space")
        assert not board.controls.is_talking  # not in push-to-talk mode
        await pilot.press("p", "space")
        assert board.controls.is_talking
        await pilot.pause()
        assert "TALK" in "\n".join(shown(screen.export_screenshot()))
        clock.now_s += 2.0
        screen.draw()
        assert not board.controls.is_talking

    told = keys(board, course, clock, size)
    assert [c.muted for c in told.conditions][-3:] == [True, False, True]


@both_sizes
@pytest.mark.parametrize(("key", "kind", "other"), [("i", "input", "Box"), ("u", "output", "Mic")])
def test_choosing_a_device(
    key: str, kind: str, other: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [
        {"number": 0, "name": "Mic", "inputs": 1, "outputs": 0, "rate_hz": 48_000, "default": "in"},
        {"number": 4, "name": "Headset", "inputs": 1, "outputs": 2, "rate_hz": 44_100, "default": ""},
        {"number": 7, "name": "Box", "inputs": 0, "outputs": 2, "rate_hz": 48_000, "default": "out"},
    ]
    monkeypatch.setattr("voicelink_client.picker.list_devices", lambda: devices)
    board = talking()
    changed: list[tuple[str, str]] = []
    monkeypatch.setattr(board.controls, "change_device", lambda kind, text: changed.append((kind, text)))

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press(key)
        await screen.workers.wait_for_complete()
        await pilot.pause()
        text = "\n".join(shown(screen.export_screenshot()))
        assert "4: Headset (44.1 kHz)" in text
        assert other not in text
        await pilot.press("end", "up" if kind == "output" else "end", "enter")
        await pilot.press(key, "escape", key, "q")
        await pilot.press(key, "home", "enter")

    keys(board, course, size=size)
    assert changed == [(kind, "4"), (kind, "default")]
    assert not board.controls.hang_up_wanted.is_set()


def test_devices_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Any]:
        raise AudioError("PortAudio is not there")

    monkeypatch.setattr("voicelink_client.picker.list_devices", broken)

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press("i")
        await screen.workers.wait_for_complete()
        await pilot.pause()
        assert "PortAudio is not there" in "\n".join(shown(screen.export_screenshot()))
        await pilot.press("escape")
        assert screen.is_running

    keys(talking(), course)


def test_keys_before_the_call_do_not_break_it() -> None:
    board = waiting()

    async def course(pilot: Any, screen: CallScreen) -> None:
        await pilot.press(*"armdop", "space", "up", "left", "[", "]", "x", "escape", "tab")
        assert screen.is_running
        assert board.controls.phone.state is PhoneState.WAITING

    keys(board, course)


def test_another_size_is_drawn_at_once() -> None:
    board = talking()

    async def main() -> None:
        screen = CallScreen(board)
        async with screen.run_test(size=(120, 40)) as pilot:
            for size in ((80, 24), (40, 12), (20, 5), (200, 60)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                assert screen.is_running
            for _ in range(100):  # drawn once the terminal's new size has come through: later on a busy machine
                if any("-60..0 dB" in line for line in shown(screen.export_screenshot())):
                    return
                await pilot.pause(0.05)
            raise AssertionError("nothing was drawn for the last size in 5 s")

    asyncio.run(main())


def test_the_screen_goes_with_the_call_and_the_call_with_the_screen() -> None:
    async def main() -> None:
        board = Board(Controls())

        async def quick() -> str:
            await asyncio.sleep(0.2)
            return "done"

        assert await run_on_screen(CallScreen(board), quick(), headless=True) == "done"

        board, screen = Board(Controls()), CallScreen(Board(Controls()))
        screen.board = board

        async def until_hung_up() -> str:
            await asyncio.sleep(0.3)
            screen.exit()
            await asyncio.wait_for(board.controls.hang_up_wanted.wait(), 5)
            return "hung up"

        assert await run_on_screen(screen, until_hung_up(), headless=True) == "hung up"

        async def broken() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await run_on_screen(CallScreen(Board(Controls())), broken(), headless=True)

    asyncio.run(main())


def test_the_command_line_does_not_load_the_screen() -> None:
    code = "import sys, voicelink.cli, voicelink_client.views; sys.exit('textual' in sys.modules)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
