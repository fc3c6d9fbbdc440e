"""The call's states and the table of what leads from one to another. Both ends use the same table.

A pair that is not in the table is a mistake of our own and raises; what a peer sends out of turn is
screened with `allowed` first, counted and dropped.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from voicelink.errors import LocalProtocolError


class State(Enum):
    """Where a session stands."""

    IDLE = auto()
    REGISTERING = auto()  # listening, and the server has not confirmed our name yet
    LISTENING = auto()
    LOOKING_UP = auto()  # asked the server for a name
    CALLING = auto()  # hello is on its way, nothing came back yet
    RINGING = auto()  # the callee's user is being asked
    INCOMING = auto()  # our user is being asked
    ANSWERED = auto()  # we accepted, the caller has not confirmed yet
    CONNECTED = auto()
    ENDING = auto()  # we told the peer, and wait for its confirmation
    ENDED = auto()


class Trigger(Enum):
    """What moves a session."""

    LISTEN = auto()
    REGISTER = auto()
    REGISTERED = auto()
    LOOK_UP = auto()
    DIAL = auto()  # hello goes out
    PEER_RINGS = auto()
    HELLO = auto()  # an acceptable hello came in
    ACCEPT = auto()
    ANSWER = auto()  # the callee accepted
    CONFIRM = auto()  # the caller has our answer
    LEAVE = auto()  # our end is to be told to the peer
    STOP = auto()  # over, with nobody to be told


_S, _T = State, Trigger

TABLE: Final[dict[State, dict[Trigger, State]]] = {
    _S.IDLE: {
        _T.LISTEN: _S.LISTENING,
        _T.REGISTER: _S.REGISTERING,
        _T.LOOK_UP: _S.LOOKING_UP,
        _T.DIAL: _S.CALLING,
        _T.STOP: _S.ENDED,
    },
    _S.REGISTERING: {_T.REGISTERED: _S.LISTENING, _T.HELLO: _S.INCOMING, _T.STOP: _S.ENDED},
    _S.LISTENING: {_T.HELLO: _S.INCOMING, _T.STOP: _S.ENDED},
    _S.LOOKING_UP: {_T.DIAL: _S.CALLING, _T.STOP: _S.ENDED},
    _S.CALLING: {
        _T.PEER_RINGS: _S.RINGING,
        _T.ANSWER: _S.CONNECTED,
        _T.LEAVE: _S.ENDING,
        _T.STOP: _S.ENDED,
    },
    _S.RINGING: {_T.ANSWER: _S.CONNECTED, _T.LEAVE: _S.ENDING, _T.STOP: _S.ENDED},
    _S.INCOMING: {_T.ACCEPT: _S.ANSWERED, _T.LEAVE: _S.ENDING, _T.STOP: _S.ENDED},
    _S.ANSWERED: {_T.CONFIRM: _S.CONNECTED, _T.LEAVE: _S.ENDING, _T.STOP: _S.ENDED},
    _S.CONNECTED: {_T.LEAVE: _S.ENDING, _T.STOP: _S.ENDED},
    _S.ENDING: {_T.STOP: _S.ENDED},
    _S.ENDED: {},
}


def allowed(state: State, trigger: Trigger) -> bool:
    """Whether `trigger` means anything in `state`."""
    return trigger in TABLE[state]


def after(state: State, trigger: Trigger) -> State:
    """The state that `trigger` leads to. Raises LocalProtocolError for a pair not in the table."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        known = ", ".join(t.name.lower() for t in TABLE[state]) or "nothing"
        raise LocalProtocolError(
            f"{trigger.name.lower()} is not possible while {state.name.lower()}; possible: {known}"
        ) from None
