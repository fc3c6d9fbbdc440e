"""What a demonstration leaves behind: figures, picture, HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from voicelink_client import page
from voicelink_client.measure import (
    aligned,
    both_ends,
    estoi,
    merged_buffer_ms,
    mouth_to_ear_ms,
    percentiles,
)
from voicelink_client.picture import Sound, Track, draw
from voicelink_client.timeline import Timeline

from voicelink.audio.files import read_audio, write_bytes
from voicelink.units import ALGORITHMIC_LATENCY_SAMPLES, NS_PER_S, SAMPLE_RATE_HZ

Figures = dict[str, Any]

#: Rows of the report's table: label, key, digits.
ROWS: Final = (
    ("frames sent", "frames_sent", 0),
    ("packets sent", "packets_sent", 0),
    ("packets lost", "packets_lost", 0),
    ("frames played", "frames_played", 0),
    ("frames concealed", "frames_concealed", 0),
    ("frames too late", "frames_late", 0),
    ("late frames that healed", "frames_healed", 0),
    ("delay aimed at, ms", "target_ms", 1),
    ("frames from redundancy", "frames_recovered", 0),
    ("on the wire, kbit/s", "wire_kbps", 2),
    ("interarrival jitter, ms", "jitter_ms", 2),
    ("round trip, ms", "rtt_ms", 2),
    ("CPU, share of one core", "cpu_rtf", 3),
    ("times nothing to play", "underruns", 0),
)


def write_results(out: Path, scratch: Path, ends: dict[str, Figures], conditions: dict[str, object]) -> Figures:
    """Measure both directions of the call between the two `ends`; writes and returns the figures.

    Reads `NAME_said.wav` and `NAME_heard.wav` in `out` and `NAME.npz` in `scratch`; writes `spectrogram.png`,
    `report.html` and `figures.json` to `out`.
    """
    sounds = {
        f"{name}_{what}": read_audio(out / f"{name}_{what}.wav")[0] for name in ends for what in ("said", "heard")
    }
    timelines = {name: Timeline.load(scratch / f"{name}.npz") for name in ends}
    buffer_ms = merged_buffer_ms(end.pop("buffer_steps") for end in ends.values())
    one, other = ends
    ways = ((one, other), (other, one))
    delays = {way: mouth_to_ear_ms(timelines[way[0]], timelines[way[1]]) for way in ways}
    figures = both_ends(ends) | {
        "mouth_to_ear_ms": percentiles(np.concatenate(list(delays.values()))),
        "buffer_ms": buffer_ms,
        "estoi": {
            f"{speaker}_to_{listener}": estoi(
                *aligned(
                    sounds[f"{speaker}_said"], sounds[f"{listener}_heard"], timelines[speaker], timelines[listener]
                )
            )
            for speaker, listener in ways
        },
        "ends": ends,
        "out": str(out),
    }
    draw(
        out / "spectrogram.png",
        "What was said, and what the other end heard",
        _tracks(sounds, timelines, ways),
    )
    html = _page(figures, conditions, sounds, out / "spectrogram.png")
    write_bytes(out / "report.html", html.encode())
    write_bytes(out / "figures.json", (json.dumps(figures, indent=1) + "\n").encode())
    return figures


def _tracks(sounds: dict[str, Sound], timelines: dict[str, Timeline], ways: tuple[tuple[str, str], ...]) -> list[Track]:
    """Said and heard of each direction on the clock both share; 0 is when the first began to speak."""
    start_ns = min(timeline.capture_ns for timeline in timelines.values())
    tracks = []
    for speaker, listener in ways:
        said_s = (timelines[speaker].capture_ns - start_ns) / NS_PER_S
        heard_s = (timelines[listener].playout_ns - start_ns) / NS_PER_S
        tracks.append(Track(f"{speaker} says", sounds[f"{speaker}_said"], said_s))
        tracks.append(Track(f"{listener} hears", sounds[f"{listener}_heard"], heard_s))
    return tracks


def _page(figures: Figures, conditions: dict[str, object], sounds: dict[str, Sound], image: Path) -> str:
    one, other = figures["ends"]
    ways = ((one, other), (other, one))
    parts = [page.heading("A call on voicelink", 1), page.paragraph(_opening(figures))]
    for speaker, listener in ways:
        parts.append(page.heading(f"{speaker} to {listener}"))
        parts.append(page.player(f"what {speaker} said", sounds[f"{speaker}_said"]))
        parts.append(page.player(f"what {listener} heard", sounds[f"{listener}_heard"]))
    parts += [page.heading("Spectrograms"), page.picture(image, "spectrograms of what was said and heard")]
    parts += [page.heading("Each end"), _ends_table(figures["ends"])]
    parts += [page.heading("Both together"), page.table(("", ""), _together(figures))]
    parts += [
        page.heading("Settings"),
        page.table(("", ""), [(k, page.number(v)) for k, v in conditions.items()]),
    ]
    parts += [page.heading("What is measured"), *map(page.paragraph, _explanations())]
    return page.page("A call on voicelink", parts)


def _opening(figures: Figures) -> str:
    delay, rate = figures["mouth_to_ear_ms"], figures["bitrate_bps"] / 1000
    return (
        f"{figures['seconds']:.1f} s over UDP on this machine, {rate:.2f} kbit/s of codec data each way "
        f"({figures['wire_kbps']:.1f} kbit/s with IP and UDP headers), mouth to ear "
        f"{page.number(delay['p50'])} ms (median). The call was encrypted end to end."
    )


def _ends_table(ends: dict[str, Figures]) -> str:
    cells = ((label, *(page.number(end[key], digits) for end in ends.values())) for label, key, digits in ROWS)
    return page.table(("", *ends), cells)


def _together(figures: Figures) -> list[tuple[str, str]]:
    delay, buffer = figures["mouth_to_ear_ms"], figures["buffer_ms"]
    rows = [
        ("mouth to ear, median and 95 %, ms", f"{page.number(delay['p50'])}, {page.number(delay['p95'])}"),
        ("jitter buffer, mean and 95 %, ms", f"{buffer['mean']:.1f}, {buffer['p95']:.1f}"),
    ]
    return rows + [(f"ESTOI {way.replace('_', ' ')}", page.number(v, 3)) for way, v in figures["estoi"].items()]


def _explanations() -> list[str]:
    codec_ms = 1000 * ALGORITHMIC_LATENCY_SAMPLES / SAMPLE_RATE_HZ
    return [
        "Mouth to ear: from the capture of a sample to the moment it leaves the other end's loudspeaker. It "
        f"holds the codec's algorithmic latency ({codec_ms:.1f} ms), coding, bundling frames into packets, "
        "the network, the jitter buffer, decoding, and the output buffer of a sound card with periods of "
        "11.6 ms, which the two ends model: they read and write files at the pace of the clock.",
        "ESTOI: an estimate of intelligibility, 0 to 1, of what was heard against what was said, aligned by "
        "the frame numbers in the packets. A vocoder does not reproduce the waveform, so a clean call is "
        "below 1.",
    ]
