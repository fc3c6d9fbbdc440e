"""Boards as they are in the course of a call, for tests of the screen; run as a program it writes pictures of it.

`python -m tests.client.board_samples FOLDER` leaves SVG files of all of them at both sizes.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from voicelink_client.board import Board
from voicelink_client.call import CallStatus
from voicelink_client.controls import Controls
from voicelink_client.phone import PhoneInput

from voicelink.core.events import (
    Agreed,
    Condition,
    Connected,
    Ended,
    EndReason,
    IncomingCall,
    PeerChanged,
    PeerRinging,
    Registered,
    Security,
)
from voicelink.core.stats import Stats
from voicelink.secure.identity import Trust
from voicelink.settings import Address

SIZES: Final = ((80, 24), (120, 40))
AGREED: Final = Agreed("h512-harmonic-1a2b3c4d", 8, 64, 2, 1, 8)
SECURITY: Final = Security(
    "bob@198.51.100.1:47600", bytes(range(32)), Trust.NEW, ("melon", "river", "piano", "cedar"), True
)
SERVER: Final[Address] = ("198.51.100.1", 47600)
BOB: Final[Address] = ("203.0.113.2", 47601)


def waiting() -> Board:
    board = Board(Controls())
    board.controls.phone.move(PhoneInput.LISTEN)
    board.ready(("0.0.0.0", 47601))
    _happens(board, Registered("alice", SERVER, ("192.0.2.1", 47601)))
    return board


def ringing_here() -> Board:
    board = waiting()
    _happens(board, IncomingCall("bob", BOB, AGREED, SECURITY))
    return board


def calling() -> Board:
    board = Board(Controls(), target="bob")
    board.controls.phone.move(PhoneInput.DIAL)
    board.ready(("0.0.0.0", 40001))
    return board


def ringing_there() -> Board:
    board = calling()
    _happens(board, PeerRinging())
    return board


def talking(seconds: int = 75) -> Board:
    board = ringing_there()
    board.controls.agreed = AGREED
    _happens(board, Connected("bob", AGREED, BOB, relayed=False, security=SECURITY))
    for tenth in range(seconds * 10):
        board.status(_status(tenth / 10))
    return board


def talking_with_everything() -> Board:
    board = talking()
    board.controls.toggle_push_to_talk()
    board.controls.toggle_deaf()
    board.controls.turn_volume(-2)
    board.controls.turn_safety(2)
    board.controls.turn_bitrate(-3)
    _happens(board, PeerChanged(Condition(muted=True, deaf=True, bits=40)))
    return board


def held() -> Board:
    board = talking()
    _happens(board, PeerChanged(Condition(holding=True)))
    return board


def reconnecting() -> Board:
    board = talking()
    board.controls.phone.hears(False)
    return board


def ended() -> Board:
    board = talking()
    _happens(board, Ended(EndReason.HUNG_UP, True, "the peer ended the call: hung up"))
    return board


SAMPLES: Final[dict[str, Callable[[], Board]]] = {
    "waiting": waiting,
    "ringing_here": ringing_here,
    "calling": calling,
    "ringing_there": ringing_there,
    "talking": talking,
    "talking_with_everything": talking_with_everything,
    "held": held,
    "reconnecting": reconnecting,
    "ended": ended,
}


def _happens(board: Board, event: object) -> None:
    board.controls.phone.take(event)  # type: ignore[arg-type]
    board.event(event)  # type: ignore[arg-type]


def _status(at_s: float) -> CallStatus:
    """A call with a bad patch after 40 s."""
    bad = 40 <= at_s < 46
    frames = round(at_s * 86)
    concealed = round(max(0, min(at_s, 46) - 40) * 12)
    stats = Stats(
        packets_sent=frames // 2, bytes_sent=frames // 2 * 35, packets_received=frames // 2 - concealed // 2,
        bytes_received=frames // 2 * 35, packets_lost=concealed // 2, frames_received=frames - concealed,
        frames_late=concealed // 4, frames_played=frames - concealed, frames_concealed=concealed, slots=frames,
        rtt_ns=24_000_000 + 9_000_000 * bad,
    )  # fmt: skip
    said = -18 - 14 * abs(math.sin(at_s / 3))
    heard = -16 - 25 * abs(math.sin(at_s / 7))
    return CallStatus(stats, at_s, said, heard, said + 9, heard + 11, buffer_ms=38 + 60 * bad + 3 * math.sin(at_s),
                      target_ms=36 + 60 * bad, output_ms=21.0)  # fmt: skip


async def picture(board: Board, size: tuple[int, int]) -> str:
    """The screen as SVG."""
    from voicelink_client.screen import CallScreen

    screen = CallScreen(board)
    async with screen.run_test(size=size) as pilot:
        await pilot.pause()
        screen.draw()
        await pilot.pause()
        return screen.export_screenshot()


if __name__ == "__main__":
    for name, make in SAMPLES.items():
        for width, height in SIZES:
            path = Path(sys.argv[1]) / f"{name}-{width}x{height}.svg"
            path.write_text(asyncio.run(picture(make(), (width, height))))
