"""The parts of the call's screen as text: each a function of what is known and of the room there is."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from rich.text import Text
from voicelink_client.board import Board
from voicelink_client.controls import Controls
from voicelink_client.history import KEPT_S, Rates, mouth_to_ear_ms
from voicelink_client.phone import PhoneState

from voicelink.core.events import Agreed
from voicelink.secure.identity import Trust, fingerprint
from voicelink.units import bitrate_bps

METER_FLOOR_DBFS: Final = -60.0
BARS: Final = "▁▂▃▄▅▆▇█"
LABEL: Final = 11
IN_CALL: Final = (PhoneState.TALKING, PhoneState.RECONNECTING)
STATE_STYLE: Final = {
    PhoneState.TALKING: "bold green",
    PhoneState.RECONNECTING: "bold red blink",
    PhoneState.RINGING_HERE: "bold yellow blink",
    PhoneState.RINGING_THERE: "bold yellow",
    PhoneState.CALLING: "bold yellow",
    PhoneState.ENDED: "bold",
}


def headline(board: Board, width: int) -> Text:
    """Who, how it stands, over which way, and the four words: three lines."""
    phone = board.controls.phone
    state = Text(_state(board), STATE_STYLE.get(phone.state, "bold"))
    who = Text(_who(board), "bold")
    first = Text.assemble(who, " " * max(1, width - len(who) - len(state)), state)
    return Text("\n").join([first, _way(board, width), _words(board)])


def levels(board: Board, width: int) -> Text:
    """The two meters, and what keeps each silent; ours is dim while nothing of it is sent."""
    controls, status = board.controls, board.status_now
    name = _cut(controls.phone.peer_name or "they", LABEL - 1)
    said, heard = (-99.0, -99.0) if status is None else (status.said_dbfs, status.heard_dbfs)
    said_peak, heard_peak = (-99.0, -99.0) if status is None else (status.said_peak_dbfs, status.heard_peak_dbfs)
    own, theirs = _own_notes(controls), _their_notes(controls)
    cells = max(10, width - LABEL - 9 - max(len(own), len(theirs)) - 1)
    yours = meter(said, said_peak, cells)
    if not controls.is_sending:
        yours.stylize("dim")
    rows = [
        Text.assemble("you".ljust(LABEL), yours, _dbfs(said), " ", (own, "bold yellow")),
        Text.assemble(name.ljust(LABEL), meter(heard, heard_peak, cells), _dbfs(heard), " ", (theirs, "bold yellow")),
    ]
    return Text("\n").join(rows)


def figures(board: Board, width: int) -> Text:
    """Rates and losses on the left, delays and knobs on the right: four lines."""
    controls, status, rates = board.controls, board.status_now, board.history.rates()
    left = _loss_figures(controls, 0 if status is None else status.bits, rates)
    right = [("round trip", "-"), ("buffer", "-"), ("mouth to ear", "-"), ("sound card", "-")]
    if status is not None:
        stats = status.stats
        rtt = "-" if stats.rtt_ns is None else f"{stats.rtt_ns / 1e6:.0f} ms"
        whole = mouth_to_ear_ms(stats, status.buffer_ms, status.output_ms)
        right = [
            ("round trip", rtt),
            ("buffer", f"{status.buffer_ms:.0f} ms, aims at {status.target_ms:.0f} ms"),
            ("mouth to ear", "-" if whole is None else f"about {whole:.0f} ms"),
            ("sound card", f"{status.underruns} gaps out, {status.overruns} gaps in"),
        ]
    half = width // 2
    rows = []
    for (a, b), (c, d) in zip(left, right, strict=True):
        row = Text.assemble((a.ljust(LABEL), "dim"), b)
        row.pad_right(max(1, half - len(row)))
        rows.append(row.append(c.ljust(13), "dim").append(d))
    return Text("\n").join(rows)


def knobs(controls: Controls, width: int) -> Text:
    """Where volume, safety and bitrate stand: one line."""
    at = round(controls.safety * 8)
    dial = "─" * at + "●" + "─" * (8 - at)
    volume = "off" if controls.deaf else f"{controls.volume_db:+d} dB"
    parts = [("volume ", volume), ("quick ", f"{dial} safe"), ("late at most ", f"{100 * controls.late_rate:g} %")]
    text = Text()
    for label, value in parts:
        if text:
            text.append("   ")
        text.append(label, "dim").append(value)
    return text


def minute(board: Board, width: int, rows: int) -> Text:
    """Sparklines of the last minute, a column a second; as many as `rows` allow."""
    seconds = board.history.seconds
    top_ms = max([100.0, *(s.buffer_ms for s in seconds)])
    top_rtt_ms = max([100.0, *(s.rtt_ms for s in seconds)])
    known = [
        ("concealed", [s.concealed for s in seconds], 0.25, "red", "0..25 %"),
        ("buffer", [s.buffer_ms for s in seconds], top_ms, "cyan", f"0..{top_ms:.0f} ms"),
        ("they", [1 - s.heard_dbfs / METER_FLOOR_DBFS for s in seconds], 1.0, "green", "-60..0 dB"),
        ("you", [1 - s.said_dbfs / METER_FLOOR_DBFS for s in seconds], 1.0, "green", "-60..0 dB"),
        ("round trip", [s.rtt_ms for s in seconds], top_rtt_ms, "magenta", f"0..{top_rtt_ms:.0f} ms"),
    ]
    lines = []
    for label, values, top, style, scale in known[:rows]:
        line = Text.assemble((label.ljust(LABEL), "dim"), (spark(values, top, KEPT_S), style))
        if width >= LABEL + KEPT_S + 2 + len(scale):
            line.append(f"  {scale}", "dim")
        lines.append(line)
    return Text("\n").join(lines)


def keys(controls: Controls, width: int) -> Text:
    """The keys that do something now, broken at `width`."""
    state = controls.phone.state
    if state is PhoneState.RINGING_HERE and not controls.phone.answered:
        shown = [("a", "answer"), ("r", "refuse")]
    elif state in IN_CALL:
        talk = [("space", "talk (hold it)")] if controls.push_to_talk else []
        shown = [("m", "unmute" if controls.muted else "mute"), ("d", "hear" if controls.deaf else "deafen"),
                 ("o", "off hold" if controls.holding else "on hold"), ("p", "push-to-talk"), *talk,
                 ("↑↓", "volume"), ("←→", "quick/safe"), ("[ ]", "bitrate"), ("i u", "devices"),
                 ("q", "hang up")]  # fmt: skip
    elif state is PhoneState.ENDED:
        shown = [("q", "leave")]
    else:
        shown = [("m", "unmute" if controls.muted else "mute"), ("p", "push-to-talk"), ("q", "give up")]
    return _wrapped(shown, width)


def meter(dbfs: float, peak_dbfs: float, cells: int) -> Text:
    """A bar from -60 to 0 dB of full scale, green, yellow from -12, red from -3, and a mark for the peak."""
    filled = _cell(dbfs, cells)
    peak = max(_cell(peak_dbfs, cells) - 1, 0)
    plain = "█" * filled + "·" * (cells - filled)
    if filled <= peak:
        plain = plain[:peak] + "┃" + plain[peak + 1 :]
    text = Text(plain, "dim")
    first, yellow, red = 0, _cell(-12, cells), _cell(-3, cells)
    for style, end in (("not dim green", yellow), ("not dim yellow", red), ("not dim red", cells)):
        text.stylize(style, first, min(filled, end))
        if filled <= peak < end and peak >= first:
            text.stylize(style, peak, peak + 1)
        first = end
    return text


def spark(values: list[float], top: float, width: int) -> str:
    """The newest `width` values, the newest on the right, as bars of 0..`top`; nothing is a space, 0 a dot."""
    shown = values[-width:]
    return "".join(_bar(value / top) for value in shown).rjust(width)


def _bar(share: float) -> str:
    return BARS[min(len(BARS) - 1, int(share * len(BARS)))] if share > 0.001 else "·"


def _cell(dbfs: float, cells: int) -> int:
    return round(cells * min(1.0, max(0.0, 1 - dbfs / METER_FLOOR_DBFS)))


def _dbfs(dbfs: float) -> str:
    return "   -oo dB" if dbfs <= METER_FLOOR_DBFS else f"{dbfs:6.0f} dB"


def _who(board: Board) -> str:
    phone = board.controls.phone
    return phone.peer_name or board.target or "voicelink"


def _state(board: Board) -> str:
    controls, status = board.controls, board.status_now
    phone = controls.phone
    text = phone.state.upper()
    if phone.state is PhoneState.TALKING:
        text = "ON HOLD" if controls.holding else "HELD BY THE OTHER" if phone.peer.holding else text
    if status is not None and phone.state in (*IN_CALL, PhoneState.ENDED):
        minutes, seconds = divmod(int(status.seconds), 60)
        text += f"  {minutes:02d}:{seconds:02d}"
    return text


def _way(board: Board, width: int) -> Text:
    security = board.security
    if board.controls.phone.state is PhoneState.ENDED and board.lines:
        return Text(_cut(board.lines[-1], width), "yellow")
    if security is None:
        return Text(_cut(board.lines[-1], width) if board.lines else "", "dim")
    key = {
        Trust.KNOWN: "known key",
        Trust.NEW: f"key not seen before: {fingerprint(security.peer_public)}",
    }.get(security.trust, "a key but no name")
    passphrase = ", same passphrase" if security.passphrase else ""
    return Text(_cut(f"{board.path}{', ' if board.path else ''}{key}{passphrase}", width), "dim")


def _words(board: Board) -> Text:
    if board.security is None:
        return Text("")
    words = " ".join(board.security.words).upper()
    return Text.assemble((words, "bold cyan"), ("  seen by both: nobody listens in", "dim"))


def _own_notes(controls: Controls) -> str:
    if controls.phone.state not in IN_CALL:
        return "MUTED" if controls.muted else ""
    if controls.holding or controls.phone.peer.holding:
        return "NOT SENT"
    if controls.muted:
        return "MUTED"
    return ("TALK" if controls.is_talking else "SPACE TALKS") if controls.push_to_talk else ""


def _their_notes(controls: Controls) -> str:
    peer = controls.phone.peer
    notes = [text for text, on in (("MUTED", peer.muted), ("HOLDS", peer.holding), ("DEAF", peer.deaf)) if on]
    if controls.deaf:
        notes.append("NOT HEARD")
    return " ".join(notes)


def _loss_figures(controls: Controls, bits: int, rates: Rates) -> list[tuple[str, str]]:
    return [
        ("codec", _codec(bits or controls.send_bits, controls.agreed)),
        ("wire", f"{rates.sent_kbps:.1f} out, {rates.received_kbps:.1f} in kbit/s"),
        ("lost", f"{100 * rates.lost:.1f} %, late {100 * rates.late:.1f} %"),
        ("concealed", f"{100 * rates.concealed:.1f} %"),
    ]


def _codec(bits: int, agreed: Agreed | None) -> str:
    if agreed is None:
        return "-"
    most = bitrate_bps(agreed.bits_max) / 1000
    return f"{bitrate_bps(bits) / 1000:.2f} of {most:.2f} kbit/s"


def _wrapped(shown: list[tuple[str, str]], width: int) -> Text:
    lines, line = [], Text()
    for key, does in shown:
        item = Text.assemble((f" {key} ", "reverse"), f" {does}")
        if line and len(line) + len(item) + 2 > width:
            lines.append(line)
            line = Text()
        if line:
            line.append("  ")
        line.append_text(item)
    return Text("\n").join([*lines, line])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def latest(board: Board, width: int, rows: int) -> Text:
    """The newest lines of what happened, broken where there is room for that, else cut."""
    lines = list(board.lines)[-rows:]
    broken = [part for line in lines for part in wrap(line, width)]
    return Text("\n".join(broken if len(broken) <= rows else [_cut(line, width) for line in lines]))
