"""How both ends take part in a call: mute, hold, and the most bits a frame that each wants."""

from __future__ import annotations

from voicelink.core.events import Agreed, Condition
from voicelink.units import NS_PER_MS
from voicelink.wire.control import Status

#: Reports of an end that sends no media come so often, since they are all that shows that it lives.
KEEP_ALIVE_NS = 300 * NS_PER_MS


class Conditions:
    """Our own condition and the peer's, and what follows from the two. It sends nothing itself.

    `constant`: we send all the time, silence where nothing of the microphone is to be sent, and as many bits as ever.
    """

    def __init__(self, *, constant: bool = False) -> None:
        self._constant = constant
        self.own, self.peer = Condition(), Condition()
        self._peer_status_id = 0

    @property
    def is_sending(self) -> bool:
        """Whether we are to send what the microphone hears."""
        return not (self.own.muted or self.own.holding or self.peer.holding)

    @property
    def sends_media(self) -> bool:
        """Whether we are to send media."""
        return self._constant or self.is_sending

    def bits(self, agreed: Agreed) -> int:
        """Bits a frame to send: the most that was agreed on and that neither end wants less than."""
        if self._constant:
            return agreed.bits_max
        wanted = min(self.own.bits, self.peer.bits)
        if wanted >= agreed.bits_max:
            return agreed.bits_max
        return wanted if wanted > agreed.bits_min else agreed.bits_min

    def status(self, status_id: int, next_index: int) -> Status:
        """Our condition, for the peer; `next_index` is that of our next frame."""
        own = self.own
        silent = not self.sends_media
        return Status(status_id, own.muted, own.holding, own.deaf, silent, next_index & 0xFFFF, own.bits)

    def take(self, status: Status) -> bool:
        """Read the peer's condition; False where it is older than what we know."""
        if status.id <= self._peer_status_id:
            return False
        self._peer_status_id = status.id
        self.peer = Condition(status.muted, status.holding, status.deaf, status.bits)
        return True
