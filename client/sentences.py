"""What happened in a call, in sentences for its user: what it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voicelink.core.events import (
    CallMissed,
    Condition,
    Connected,
    Ended,
    EndReason,
    Event,
    IncomingCall,
    PathChanged,
    PeerChanged,
    PeerRinging,
    Registered,
    RegistrationLost,
    Security,
    ServerClosing,
)
from voicelink.secure.identity import Trust, fingerprint
from voicelink.settings import Address, format_address
from voicelink.units import MAX_BITS_PER_FRAME, bitrate_bps


@dataclass(frozen=True)
class Notice:
    """Something of this machine that the user should know, beside the session's events."""

    text: str


#: What to do where a call did not come about or broke off.
ADVICE: Final = {
    EndReason.REFUSED: "call again when it suits them",
    EndReason.BUSY: "call again in a while",
    EndReason.OFFLINE: "check the spelling, and that `voicelink listen --name NAME` runs there with the same --server",
    EndReason.NO_ANSWER: "call again later",
    EndReason.UNREACHABLE: "check the address, that it runs there, and that no firewall stops UDP to that port",
    EndReason.INCOMPATIBLE: "let both ends give the same --model, and a --bitrate and --frames-per-packet that overlap",
    EndReason.SILENCE: "check both ends' network, then call again",
    EndReason.VERSION: "update voicelink at the end that has the older one",
    EndReason.PASSPHRASE: "let both ends give the same --passphrase, or neither one",
    EndReason.TAMPERED: "call again, and over another network if it happens again",
}


def failure(ended: Ended, who: str = "the other end") -> str:
    """One sentence on a call with `who` that did not come about or broke off: why, and what to do."""
    what = (ended.detail or f"the call failed: {ended.reason}").replace("the callee", who)
    advice = ADVICE.get(ended.reason, "")
    return f"{what}; {advice}" if advice else what


def describe(event: Event | Notice) -> str:
    """One line for the user; empty for events that are not worth one."""
    text = ""
    match event:
        case Notice():
            text = event.text
        case Registered():
            text = f"registered as {event.name} at {format_address(event.server)}; waiting for a call"
        case RegistrationLost():
            text = f"the server at {format_address(event.server)} is gone ({event.detail}); trying again"
        case IncomingCall():
            who = f"{event.peer_name or 'somebody'} calls from {format_address(event.source)}"
            text = f"{who}, {_known(event.security)}"
        case CallMissed():
            text = f"{event.peer_name or 'somebody'} called in vain: {event.detail or event.reason}"
        case PeerRinging():
            text = "ringing"
        case Connected():
            path = _path(event.path, event.relayed)
            with_whom = f"connected with {event.peer_name or 'the peer'}, {path}, {_known(event.security)}"
            text = f"{with_whom}; nobody listens in if both of you see: {' '.join(event.security.words).upper()}"
        case PathChanged():
            text = f"media now goes {_path(event.path, event.relayed)}"
        case ServerClosing():
            text = f"the server stops within {event.in_s} s; the call goes on directly, or once it is back"
        case PeerChanged():
            text = f"the other end {_condition(event.condition)}"
        case Ended():
            text = f"ended: {event.detail or event.reason}"
    return text


def _condition(condition: Condition) -> str:
    on = [
        text
        for text, holds in (
            ("has put you on hold", condition.holding),
            ("is muted", condition.muted),
            ("does not listen", condition.deaf),
            (f"wants at most {bitrate_bps(condition.bits) / 1000:.2f} kbit/s", condition.bits < MAX_BITS_PER_FRAME),
        )
        if holds
    ]
    return " and ".join(on) or "talks and listens"


def _known(security: Security) -> str:
    """What we know of the peer's key, in a few words."""
    passphrase = " and the same passphrase" if security.passphrase else ""
    key = {
        Trust.KNOWN: f"with the known key of {security.label}",
        Trust.NEW: f"with a key not seen before ({fingerprint(security.peer_public)})",
    }.get(security.trust, "with a key but no name")
    return key + passphrase


def _path(path: Address, relayed: bool) -> str:
    return f"{'through the relay at' if relayed else 'directly to'} {format_address(path)}"
