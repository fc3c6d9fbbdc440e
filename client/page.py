"""The HTML page of a demonstration: players, picture and figures in one file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voicelink.units import SAMPLE_RATE_HZ

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
img { max-width: 100%; }
audio { width: 22rem; max-width: 100%; vertical-align: middle; }
:root { color-scheme: light dark; }
"""
HEAD: Final = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML page; `parts` are HTML."""
    head = f"<head>{HEAD}<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en">{head}<body>\n{body}\n</body></html>\n'


def heading(text: str, level: int = 2) -> str:
    """<h2>, or another level."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """<p> of plain text."""
    return f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """<table> of plain texts."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def player(label: str, samples: NDArray[np.float32]) -> str:
    """<audio> with the sound in it, as FLAC (half the size of WAV, and every current browser plays it)."""
    packed = io.BytesIO()
    soundfile.write(packed, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(packed.getvalue()).decode()
    source = f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio>'
    return f"<p>{source} {html.escape(label)}</p>"


def picture(path: Path, text: str) -> str:
    """<img> with a PNG in it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(text)}" src="data:image/png;base64,{data}"></p>'


def number(value: Any, digits: int = 1) -> str:
    """A figure as text; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)
