"""The live view of a demonstration: both ends side by side, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from voicelink_client.views import LINE_EVERY_S, meter

COLUMNS = ("", "time", "speaks", "hears", "kbit/s", "buffer", "played", "gaps", "lost")


class DemoScreen:
    """A table redrawn on a terminal; elsewhere a line for each phase and every 5 s. Use as a context."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._ends: dict[str, dict[str, Any]] = {}
        self._phase = ""
        self._next_line_s = 0.0
        self._live = Live(console=self._console, refresh_per_second=8, transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> DemoScreen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """A new heading."""
        self._phase = text
        if self._live is None:
            self._console.print(text, markup=False)
        else:
            self._live.update(self._picture())

    def message(self, name: str, message: dict[str, Any]) -> None:
        """Take an end's JSON line and draw."""
        end = self._ends.setdefault(name, {})
        if message.get("event") == "status":
            end.update(message)
        elif message.get("text"):
            end["state"] = message["text"]
        if self._live is not None:
            self._live.update(self._picture())
        elif time.monotonic() >= self._next_line_s and "seconds" in end:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            self._console.print(_line(name, end), markup=False)

    def _picture(self) -> Group:
        states = [Text(f"{name}: {end['state']}", "dim") for name, end in self._ends.items() if "state" in end]
        return Group(Text(self._phase, "bold"), *states, self._table())

    def _table(self) -> Table:
        table = Table(*COLUMNS, box=None, pad_edge=False)
        for name, end in self._ends.items():
            if "seconds" in end:
                table.add_row(*_cells(name, end))
        return table


def _cells(name: str, end: dict[str, Any]) -> list[str | Text]:
    return [
        name,
        f"{end['seconds']:.1f} s",
        meter(end["said_dbfs"]),
        meter(end["heard_dbfs"]),
        f"{end['wire_kbps']:.1f}",
        f"{end['buffer_ms']:.0f} ms",
        *(str(end[key]) for key in ("played", "concealed", "lost")),
    ]


def _line(name: str, end: dict[str, Any]) -> str:
    return (
        f"{name} {end['seconds']:.0f} s: {end['wire_kbps']:.1f} kbit/s, buffer {end['buffer_ms']:.0f} ms, "
        f"played {end['played']}, concealed {end['concealed']}, lost {end['lost']}"
    )


def summary(figures: dict[str, Any]) -> list[str]:
    """The figures of a demonstration for a reader."""
    delay, buffer, out = figures["mouth_to_ear_ms"], figures["buffer_ms"], figures["out"]
    scores = ", ".join(f"{way.replace('_', ' ')} {score}" for way, score in figures["estoi"].items())
    return [
        f"codec {figures['bitrate_bps']} bit/s, with IP and UDP headers {figures['wire_kbps']:.1f} kbit/s each way",
        f"mouth to ear {delay['p50']} ms median, {delay['p95']} ms 95 %; jitter buffer {buffer['mean']} ms mean",
        f"sent {figures['frames_sent']} frames, played {figures['frames_played']}, "
        f"concealed {figures['frames_concealed']}; lost {figures['packets_lost']} packets",
        f"ESTOI {scores}; CPU {100 * figures['cpu_rtf']:.0f} % of one core for a client",
        f"report: {out}/report.html",
    ]
