"""Control messages at even times: under a constant rate they wait for slots, and leave in datagrams of one size.

Every slot's datagram holds a report with feedback and, where one waits, another message. What is sent again meanwhile
takes the place of its earlier copy. So neither the number of messages, nor their sizes, nor when they were called for
shows on the way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from voicelink.settings import Address
from voicelink.units import NS_PER_MS
from voicelink.wire.control import Bundle, ControlMessage, Moved, Report, encode_control

#: Between two slots: feedback is missed by the other end after 1.2 s.
SLOT_NS: Final = 500 * NS_PER_MS
#: The body of a slot's datagram: a report with feedback (53 bytes), and a message of at most 88.
SLOT_BYTES: Final = 144
_ROOM: Final = 88
#: Messages that wait at most; of more the oldest are given up, as if they had been lost.
MOST_WAITING: Final = 16


class Slots:
    """What waits, each for one address."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[type, Address, int], ControlMessage] = {}
        self._was_elsewhere = False

    def put(self, message: ControlMessage, to: Address) -> None:
        """Let `message` wait for its slot."""
        key = (type(message), to, getattr(message, "to", 0))
        self._waiting[key] = _fitting(message)
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def take(self, report: Report, current: Address) -> tuple[Bundle, Address]:
        """The datagram of this slot, and where it goes: `current`, but for a message to another address.

        The peer hears from us over the current path at every second slot at least.
        """
        messages: tuple[ControlMessage, ...] = (report,)
        to = current
        for key in self._waiting:
            if key[1] == current or not self._was_elsewhere:
                to = key[1]
                messages += (self._waiting.pop(key),)
                break
        self._was_elsewhere = to != current
        return Bundle(messages, SLOT_BYTES), to


def _fitting(message: ControlMessage) -> ControlMessage:
    """As many of our addresses as there is room for."""
    while isinstance(message, Moved) and message.candidates and len(encode_control(message)) > _ROOM:
        message = replace(message, candidates=message.candidates[:-1])
    return message
