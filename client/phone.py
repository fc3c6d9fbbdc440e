"""A call as its user sees it: what the telephone is doing, and what it sounds like meanwhile. No I/O."""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import Final

from voicelink_client.tones import Tone

from voicelink.core.events import (
    Condition,
    Connected,
    Ended,
    EndReason,
    Event,
    IncomingCall,
    PeerChanged,
    PeerRinging,
)
from voicelink.errors import LocalProtocolError


class PhoneState(StrEnum):
    """What the telephone is doing."""

    IDLE = "idle"
    WAITING = "waiting for a call"
    CALLING = "calling"
    RINGING_THERE = "ringing there"
    RINGING_HERE = "ringing here"
    TALKING = "talking"
    RECONNECTING = "reconnecting"  # the call stands, but nothing is heard of the other end
    ENDED = "ended"


class PhoneInput(Enum):
    """What moves it."""

    LISTEN = auto()
    DIAL = auto()
    RINGS_THERE = auto()
    RINGS_HERE = auto()
    CONNECT = auto()
    LOSE = auto()
    FIND = auto()
    END = auto()


_S, _I = PhoneState, PhoneInput

TABLE: Final[dict[PhoneState, dict[PhoneInput, PhoneState]]] = {
    _S.IDLE: {_I.LISTEN: _S.WAITING, _I.DIAL: _S.CALLING, _I.END: _S.ENDED},
    _S.WAITING: {_I.RINGS_HERE: _S.RINGING_HERE, _I.END: _S.ENDED},
    _S.CALLING: {_I.RINGS_THERE: _S.RINGING_THERE, _I.CONNECT: _S.TALKING, _I.END: _S.ENDED},
    _S.RINGING_THERE: {_I.CONNECT: _S.TALKING, _I.END: _S.ENDED},
    _S.RINGING_HERE: {_I.CONNECT: _S.TALKING, _I.END: _S.ENDED},
    _S.TALKING: {_I.LOSE: _S.RECONNECTING, _I.END: _S.ENDED},
    _S.RECONNECTING: {_I.FIND: _S.TALKING, _I.END: _S.ENDED},
    _S.ENDED: {},
}

_EVENTS: Final[dict[type, PhoneInput]] = {
    PeerRinging: _I.RINGS_THERE,
    IncomingCall: _I.RINGS_HERE,
    Connected: _I.CONNECT,
    Ended: _I.END,
}
_NOT_WANTED: Final = {EndReason.BUSY, EndReason.REFUSED, EndReason.NO_ANSWER}


class Phone:
    """Follows the events of one session."""

    def __init__(self) -> None:
        self.state = PhoneState.IDLE
        self.peer_name = ""
        self.peer = Condition()
        """How the other end takes part."""
        self.answered = False
        """Our user has accepted: it rings no more, though the call does not stand yet."""
        self.ended: Ended | None = None

    def move(self, by: PhoneInput) -> None:
        """Go on. Raises LocalProtocolError for what cannot happen in this state."""
        try:
            self.state = TABLE[self.state][by]
        except KeyError:
            raise LocalProtocolError(f"a telephone that is {self.state} cannot {by.name.lower()}") from None

    def take(self, event: Event) -> None:
        """Follow an event of the session."""
        if isinstance(event, (IncomingCall, Connected)):
            self.peer_name = event.peer_name
        elif isinstance(event, PeerChanged):
            self.peer = event.condition
        elif isinstance(event, Ended):
            self.ended = event
        if type(event) in _EVENTS:
            self.move(_EVENTS[type(event)])

    def hears(self, hears: bool) -> None:
        """Whether anything is heard of the other end of a standing call."""
        if self.state is PhoneState.TALKING and not hears:
            self.move(PhoneInput.LOSE)
        elif self.state is PhoneState.RECONNECTING and hears:
            self.move(PhoneInput.FIND)

    @property
    def tone(self) -> Tone | None:
        """What sounds now."""
        match self.state:
            case PhoneState.RINGING_THERE:
                return Tone.RING_BACK
            case PhoneState.RINGING_HERE:
                return None if self.answered else Tone.RING
            case PhoneState.TALKING:
                return Tone.HELD if self.peer.holding else None
            case PhoneState.ENDED:
                return self._last_tone()
        return None

    def _last_tone(self) -> Tone | None:
        """None where we ended it ourselves: who hangs up knows."""
        ended = self.ended
        if ended is None or (not ended.by_peer and ended.reason in (EndReason.HUNG_UP, EndReason.CANCELLED)):
            return None
        if ended.reason in _NOT_WANTED:
            return None if ended.reason is EndReason.REFUSED and not ended.by_peer else Tone.BUSY
        return Tone.HANG_UP if ended.reason in (EndReason.HUNG_UP, EndReason.CANCELLED) else Tone.NO_WAY
