"""What the machines tell their owner: events, playout decisions, and why a call ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from voicelink.frame import Frame
from voicelink.secure.identity import Trust
from voicelink.settings import Address
from voicelink.units import MAX_BITS_PER_FRAME


class EndReason(StrEnum):
    """Why a call ended or never came about."""

    HUNG_UP = "hung up"
    CANCELLED = "cancelled"  # the caller gave up before an answer
    REFUSED = "refused"
    BUSY = "busy"
    OFFLINE = "offline"  # the server knows no such name
    NO_ANSWER = "no answer"  # it rang, and nobody answered in time
    UNREACHABLE = "unreachable"  # nothing at all came back
    INCOMPATIBLE = "incompatible"  # no settings that both ends allow
    SILENCE = "silence"  # nothing heard of the peer for the silence timeout
    SERVER = "server"  # the server refused the request (full, name taken)
    VERSION = "version"  # the ends speak different versions of the protocol
    PASSPHRASE = "passphrase"  # the ends do not hold the same passphrase
    KEY = "key"  # the peer's key is not the one remembered
    TAMPERED = "tampered"  # somebody on the way changed the handshake


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both ends negotiated; equal on both."""

    model_id: str
    bits_min: int
    bits_max: int
    """A sender may use any bits a frame in bits_min..bits_max, and starts at bits_max."""
    frames_per_packet: int
    """What both ends start with."""
    frames_min: int
    frames_max: int
    """A sender may use any frames a packet in frames_min..frames_max."""
    feedback: bool = False
    """Whether the ends tell each other how media arrives; one of them wants to know."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The server holds our name now (first registration, or again after a loss)."""

    name: str
    server: Address
    reflexive: Address
    """Our address as the server sees it."""


@dataclass(frozen=True, slots=True)
class RegistrationLost:
    """The server stopped answering our refreshes; the session keeps trying (until it is denied the name)."""

    server: Address
    detail: str


@dataclass(frozen=True, slots=True)
class Security:
    """Who the peer has proved to be."""

    label: str
    """Under which the peer's key is remembered; empty where it gave no name."""
    peer_public: bytes
    trust: Trust
    words: tuple[str, ...]
    """Equal at both ends; where the users compare them, nobody sits between."""
    passphrase: bool
    """Whether both ends have shown to hold the same passphrase."""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """Someone calls: answer with `Session.accept` or `Session.refuse`."""

    peer_name: str
    source: Address
    """Where the call came from: the peer itself, or the relay."""
    agreed: Agreed
    """What the call will use if it is accepted."""
    security: Security


@dataclass(frozen=True, slots=True)
class CallMissed:
    """Someone called in vain (nothing to agree on, a wrong key or passphrase); the session goes on listening."""

    peer_name: str
    reason: EndReason
    detail: str


@dataclass(frozen=True, slots=True)
class PeerRinging:
    """Our call reached the peer, whose user has not decided yet."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The call stands: send and pull frames now."""

    peer_name: str
    agreed: Agreed
    path: Address
    """Where our media goes now: the peer or the relay."""
    relayed: bool
    security: Security


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Media goes another way now."""

    path: Address
    relayed: bool


@dataclass(frozen=True, slots=True)
class ServerClosing:
    """The server that relays this call stops within `in_s`; the call goes on directly, or once the server is back."""

    server: Address
    in_s: int


@dataclass(frozen=True, slots=True)
class PeerReport:
    """A receiver report of the peer: how our media arrives there."""

    packets_received: int
    packets_lost: int
    frames_late: int
    frames_concealed: int
    jitter_us: int
    buffer_us: int
    rtt_us: int | None
    """Round trip measured with this report; None before the first echo (RFC 3550 section 6.4.1)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How an end takes part in a call."""

    muted: bool = False
    """Sends no sound."""
    holding: bool = False
    """Has put the other end on hold: nothing is sent either way."""
    deaf: bool = False
    """Does not listen; it is sent to all the same."""
    bits: int = MAX_BITS_PER_FRAME
    """Most bits a frame that it wants to send and to be sent, 1..64; the range agreed on holds in any case."""


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """The peer takes part in the call in another way than before."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; the last event of a session."""

    reason: EndReason
    by_peer: bool
    """True where the peer (or the server) decided so, False where we did."""
    detail: str
    """One sentence for the user."""


Event: TypeAlias = (
    Registered
    | RegistrationLost
    | IncomingCall
    | CallMissed
    | PeerRinging
    | Connected
    | PathChanged
    | ServerClosing
    | PeerReport
    | PeerChanged
    | Ended
)


@dataclass(frozen=True, slots=True)
class Play:
    """Decode `frame` and play a slot of 256 samples. `frame.index` is the sender's frame index.

    With a `lag`, what is heard lies so many twentieths of a frame before it: between it and the one decoded before.
    A lag that falls or rises from slot to slot is how playout runs faster or slower without a step.
    """

    frame: Frame
    lag: int = 0


@dataclass(frozen=True, slots=True)
class Conceal:
    """Frame `index` is missing: conceal 256 samples; the `run`-th concealed slot in a row (1, 2, ...).

    Whether it is lost or only late is not known yet: the frame may still come, as Play or as Heal.
    """

    index: int
    run: int


@dataclass(frozen=True, slots=True)
class ComfortNoise:
    """The sender announced silence: 256 samples of comfort noise in place of frame `index`, which was never sent.

    The decoder's state stands still, as the sender's encoder does. Nothing is missing, so nothing counts as concealed.
    """

    index: int
    noise: bytes = b""
    """What the sender told of its background (NOISE_BYTES, see `codec/pauses.py`); empty where it told nothing."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The buffer is too full: decode `frame` (the decoder's state needs it), drop its sound, and pull again
    for the same slot.
    """

    frame: Frame


@dataclass(frozen=True, slots=True)
class Heal:
    """`frame` came after others were played past it: bring the decoder's state to where it would be had it come in
    time (see `codec/decoding.py`), and pull again for the same slot.
    """

    frame: Frame


@dataclass(frozen=True, slots=True)
class Stretch:
    """The buffer is too empty: no new frame for this slot; the last one decoded is heard on."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to play yet, or no longer: 128 samples of silence, half a slot. The decoder is not stepped."""


PlayoutDecision: TypeAlias = Play | Conceal | ComfortNoise | Skip | Heal | Stretch | Wait
