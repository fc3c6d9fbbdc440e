"""The call's terminal screen, on Textual: draws a `Board` some times a second, and turns keys into `Controls`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from voicelink_client import gauges
from voicelink_client.board import Board
from voicelink_client.phone import PhoneState
from voicelink_client.picker import DevicePicker

DRAWN_EVERY_S: Final = 0.1
#: The codec thread is not to wait for a drawing to be finished (Python's own is 5 ms).
SWITCH_S: Final = 0.001
PANELS: Final = {
    "call": "voicelink",
    "figures": "figures",
    "minute": "last minute",
    "log": "what happened",
}
#: From so many rows on there is room for all sparklines.
TALL_ROWS: Final = 30

T = TypeVar("T")


class CallScreen(App[None]):
    """Shows `board`. It ends when `close` is called; a user who leaves hangs up first."""

    CSS = """
    Screen { overflow: hidden; }
    Static { padding: 0 1; }
    .panel { border: round $primary; border-title-color: $text; height: auto; }
    #log { height: 1fr; }
    #keys { dock: bottom; height: auto; background: $panel; padding: 0 1; }
    """
    TITLE = "voicelink"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,enter", "answer", "answer"),
        Binding("r", "refuse", "refuse"),
        Binding("q", "hang_up", "hang up"),
        Binding("ctrl+c,ctrl+q", "hang_up", "hang up", priority=True),
        Binding("m", "do('toggle_mute')", "mute"),
        Binding("d", "do('toggle_deaf')", "deafen"),
        Binding("o", "do('toggle_hold')", "hold"),
        Binding("p", "do('toggle_push_to_talk')", "push-to-talk"),
        Binding("space", "talk", "talk"),
        Binding("i", "pick('input')", "microphone"),
        Binding("u", "pick('output')", "loudspeaker"),
        Binding("up,plus", "turn('turn_volume', 1)", "louder"),
        Binding("down,minus", "turn('turn_volume', -1)", "quieter"),
        Binding("right", "turn('turn_safety', 1)", "safer"),
        Binding("left", "turn('turn_safety', -1)", "quicker"),
        Binding("right_square_bracket", "turn('turn_bitrate', 1)", "more bits"),
        Binding("left_square_bracket", "turn('turn_bitrate', -1)", "fewer bits"),
    ]

    def __init__(self, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.board, self._clock = board, clock
        self._panels = {name: Static(id=name, classes="panel") for name in PANELS}
        self._keys = Static(id="keys")
        self._shown: dict[Static, Text] = {}

    def compose(self) -> ComposeResult:
        """The panels from top to bottom."""
        for name, panel in self._panels.items():
            panel.border_title = PANELS[name]
            yield panel
        yield self._keys

    def on_mount(self) -> None:
        """Draw from now on."""
        self.set_interval(DRAWN_EVERY_S, self.draw)
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        """Another size: draw at once."""
        self.draw()

    def draw(self) -> None:
        """Bring every panel up to date."""
        board, controls = self.board, self.board.controls
        controls.tick(self._clock())
        width, tall = self.size.width - 4, self.size.height >= TALL_ROWS
        show = {
            "call": gauges.headline(board, width).append("\n").append_text(gauges.levels(board, width)),
            "figures": gauges.figures(board, width).append("\n").append_text(gauges.knobs(controls, width)),
            "minute": gauges.minute(board, width, 5 if tall else 2),
            "log": gauges.latest(board, width, max(1, self._panels["log"].size.height)),
        }
        for name, text in show.items():
            self._show(self._panels[name], text)
        self._show(self._keys, gauges.keys(controls, self.size.width - 2))

    def _show(self, panel: Static, text: Text) -> None:
        """Change a panel where its text is another one; lay out anew only where it takes more or fewer lines."""
        before = self._shown.get(panel)
        if text != before or text.spans != before.spans:
            self._shown[panel] = text
            panel.update(text, layout=before is None or _lines(text) != _lines(before))

    # ---- keys ------------------------------------------------------------------------------------
    def action_answer(self) -> None:
        """Take the call that rings."""
        self.board.controls.answer()

    def action_refuse(self) -> None:
        """Refuse it."""
        self.board.controls.refuse()

    def action_hang_up(self) -> None:
        """End the call; once it has ended, leave the screen at once."""
        if self.board.controls.phone.state is PhoneState.ENDED:
            self.exit()
        else:
            self.board.controls.hang_up()

    def action_do(self, what: str) -> None:
        """A switch of the controls."""
        getattr(self.board.controls, what)()
        self.draw()

    def action_turn(self, what: str, steps: int) -> None:
        """A knob of the controls."""
        getattr(self.board.controls, what)(steps)
        self.draw()

    def action_pick(self, kind: str) -> None:
        """Choose another microphone or loudspeaker."""

        def change(text: str | None) -> None:
            if text is not None:
                self.board.controls.change_device(kind, text)

        self.push_screen(DevicePicker(kind), change)

    def action_talk(self) -> None:
        """The talk key is held."""
        self.board.controls.press_to_talk(self._clock())
        self.draw()


def _lines(text: Text) -> int:
    return text.plain.count("\n")


async def run_on_screen(screen: CallScreen, call: Coroutine[Any, Any, T], *, headless: bool = False) -> T:
    """Show `screen` while `call` runs; its result or exception. A screen that is left, or fails, ends the call."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    calling = asyncio.ensure_future(call)
    showing = asyncio.ensure_future(screen.run_async(headless=headless))
    await asyncio.wait({calling, showing}, return_when=asyncio.FIRST_COMPLETED)
    screen.board.controls.hang_up()
    try:
        return await calling
    finally:
        sys.setswitchinterval(interval_s)
        if not showing.done():
            screen.exit()
        await showing
