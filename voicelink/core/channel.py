"""One connection's datagrams: header and counters put on, taken off. The place where sealing will go."""

from __future__ import annotations

from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.seq import unwrap


class Channel:
    """Outgoing and incoming packet counters of one connection, one per kind.

    Bodies are not encrypted yet. A sealed channel will encrypt in `wrap` with the header as associated data
    and (kind, 64-bit counter) as nonce, and decrypt where `counter_of` is called now.
    """

    def __init__(self, connection_id: int) -> None:
        self.connection_id = connection_id
        self._sent = dict.fromkeys(Kind, 0)
        self._expected = dict.fromkeys(Kind, 0)

    def wrap(self, kind: Kind, body: bytes) -> bytes:
        """The next datagram of `kind`."""
        counter = self._sent[kind]
        self._sent[kind] = counter + 1
        return join(Header(kind, self.connection_id, counter & 0xFFFF), body)

    def counter_of(self, header: Header) -> int:
        """The full packet counter of a datagram that came in."""
        counter = unwrap(header.counter, self._expected[header.kind])
        self._expected[header.kind] = max(self._expected[header.kind], counter + 1)
        return counter
