"""Recordings of a sweep side by side, each with its spectrogram, as HTML that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from voicelink.audio.files import read_audio
from voicelink.errors import ConfigError
from voicelink.experiments.drawing import spectrogram_png
from voicelink.experiments.statistics import Row, is_number

SHOWN: Final = ("estoi", "pesq_wb", "visqol", "plcmos")
MOST_CLIPS: Final = 2


def players_html(
    folder: Path, plan: dict[str, Any], rows: list[Row], most: int, chosen: Sequence[int] | None = None
) -> str:
    """A section with what was said and heard in some cells of some clips; empty where nothing was kept.

    The cells are those `chosen`, or where that is None so many over the grid that about `most` recordings come of it.
    """
    clips = [name for name in plan["clips"] if (folder / "audio" / name / "said.flac").is_file()][:MOST_CLIPS]
    if not clips or most <= 0:
        return ""
    each = max(1, most // (len(clips) * len(plan["codecs"])))
    cells = _cells(plan, each) if chosen is None else list(chosen)[:each]
    parts = [_clip_html(folder / "audio" / clip, clip, cells, plan, rows) for clip in clips]
    return f'<section id="listen"><h2>Listen</h2>{"".join(parts)}</section>'


def choose_cells(points: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[int] | None:
    """Numbers of the cells that `wanted` names: each a number, or KEY=VALUE,... that all named cells share.

    None where nothing is named. Raises ConfigError for what names no cell.
    """
    if not wanted:
        return None
    found: dict[int, None] = {}
    for text in wanted:
        numbers = _named(points, text)
        if not numbers:
            keys = list(dict.fromkeys(key for point in points for key in point))
            raise ConfigError(
                f"--cell {text}: no such cell; there are 0 to {len(points) - 1}, or KEY=VALUE,... of {', '.join(keys)}"
            )
        found |= dict.fromkeys(numbers)
    return list(found)


def _named(points: Sequence[dict[str, Any]], text: str) -> list[int]:
    if text.isascii() and text.isdecimal():
        return [int(text)] if int(text) < len(points) else []
    pairs = [part.partition("=") for part in text.split(",")]
    return [
        number
        for number, point in enumerate(points)
        if all(equals and key.strip() in point and _same(point[key.strip()], value) for key, equals, value in pairs)
    ]


def _same(value: Any, text: str) -> bool:
    """Whether `text` states the value of a setting, as TOML or as a bare word."""
    if is_number(value):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return text.strip().strip('"').lower() == (str(value).lower() if isinstance(value, (bool, str)) else str(value))


def _cells(plan: dict[str, Any], most: int) -> list[int]:
    """Numbers of cells evenly over the grid."""
    count = len(plan["cells"])
    most = min(most, count)
    return sorted({round(i * (count - 1) / max(1, most - 1)) for i in range(most)})


def _clip_html(folder: Path, clip: str, cells: list[int], plan: dict[str, Any], rows: list[Row]) -> str:
    players = [_player_html(folder / "said.flac", "what was said", "")]
    for cell in cells:
        point = ", ".join(f"{key} {value}" for key, value in plan["points"][cell].items()) or "the call"
        for codec in plan["codecs"]:
            path = next(iter(sorted(folder.glob(f"{codec}-cell{cell:04}-seed*.flac"))), None)
            if path is not None:
                seed = int(path.stem.rpartition("seed")[2])
                players.append(_player_html(path, f"{codec}: {point}", _scores(rows, codec, clip, cell, seed)))
    return f'<h3>{html.escape(clip)}</h3><div class="players">{"".join(players)}</div>'


def _player_html(path: Path, title: str, scores: str) -> str:
    speech, rate_hz = read_audio(path)
    picture = base64.b64encode(spectrogram_png(speech, rate_hz)).decode()
    sound = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<div class="player"><h4>{html.escape(title)}</h4>'
        f'<div class="picture"><img alt="Spectrogram, 0 to 8 kHz" src="data:image/png;base64,{picture}"><i></i></div>'
        f'<audio controls preload="metadata" src="data:audio/flac;base64,{sound}"></audio>'
        f"<p>{scores or '&nbsp;'}</p></div>"
    )


def _scores(rows: list[Row], codec: str, clip: str, cell: int, seed: int) -> str:
    wanted = (codec, clip, cell, seed)
    row = next((r for r in rows if (r["codec"], r["clip"], r["cell"], r["seed"]) == wanted), {})
    told = [f"{name} {row[name]:.2f}" for name in SHOWN if is_number(row.get(name))]
    wire = row.get("wire_kbps")
    return " \u00b7 ".join([*told, *([f"{wire:.1f} kbps"] if is_number(wire) else [])])
