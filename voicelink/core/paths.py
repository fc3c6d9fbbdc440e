"""Which address the media goes to: the relay at first, and a direct path once a probe came back over it.

As in ICE (RFC 8445): each end probes the addresses that the other named, and every address that a probe
came from (section 7.3.1.4); an address whose probe was answered from there is validated. Unlike ICE each end
moves by itself, since each only chooses where it sends to. On a direct path an end follows a peer whose address
changes (a NAT that forgot, another network): after an authenticated datagram from the new address, and after a
probe was answered from there (a path challenge, as in RFC 9000 section 9.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from voicelink.settings import Address
from voicelink.units import NS_PER_MS, NS_PER_S

PROBE_INTERVAL_NS: Final = 250 * NS_PER_MS
PROBE_ROUNDS: Final = 12
#: After these rounds without success probing rests for so long.
PROBE_REST_NS: Final = 15 * NS_PER_S
#: A direct path on which nothing was heard for so long is given up for the relay.
DEAD_NS: Final = 3 * NS_PER_S
MAX_ADDRESSES: Final = 16


class Paths:
    """Addresses of one call. `primary` is the peer itself in a direct call, else the relay."""

    def __init__(self, primary: Address, *, relayed: bool) -> None:
        self.primary = primary
        self._relayed = relayed
        self._known: dict[Address, None] = {primary: None}
        self._direct: Address | None = None
        self._direct_heard_ns = 0
        self._rounds_left = 0
        self._due_ns: int | None = None
        self._stopped = False
        self._moved_to: Address | None = None

    @property
    def current(self) -> Address:
        """Where to send."""
        return self._direct or self.primary

    @property
    def relayed(self) -> bool:
        """Whether what we send goes through the relay."""
        return self._relayed and self._direct is None

    def knows(self, source: Address) -> bool:
        """Whether datagrams from `source` may belong to the call."""
        return source in self._known

    def start(self, candidates: Iterable[Address], now_ns: int) -> None:
        """Begin to look for a direct path (only where there is a relay to leave)."""
        if not self._relayed or self._stopped:
            return
        for address in candidates:
            self.add(address)
        if self._direct is None:
            self._rounds_left, self._due_ns = PROBE_ROUNDS, now_ns

    def stop(self) -> None:
        """The call is over: probe no more, and stay on the path as it is."""
        self._stopped, self._due_ns = True, None

    def add(self, address: Address) -> None:
        """Note an address of the peer: a candidate, or where a datagram of it came from. New ones push out old."""
        if (":" in address[0]) != (":" in self.primary[0]) or address in self._known:
            return
        if len(self._known) >= MAX_ADDRESSES:
            keep = (self.primary, self._direct, self._moved_to)
            del self._known[next(a for a in self._known if a not in keep)]
        self._known[address] = None

    def heard(self, source: Address, now_ns: int) -> None:
        """An authenticated datagram of the call came from `source`."""
        if source == self._direct:
            self._direct_heard_ns = now_ns
        elif source == self.primary:
            self._moved_to = None
        else:
            self._notice(source, now_ns)
            follows = not self._relayed or self._direct is not None
            if follows and source in self._known and source != self._moved_to and not self._stopped:
                self._moved_to, self._rounds_left, self._due_ns = source, PROBE_ROUNDS, now_ns

    def validated(self, address: Address, now_ns: int) -> bool:
        """A probe to `address` was answered from there; True where that changes the path."""
        if self._stopped or address in (self.primary, self._direct):
            return False
        if not self._relayed or self._direct is not None:
            return self._move(address, now_ns)
        self._direct, self._direct_heard_ns, self._due_ns = address, now_ns, None
        return True

    def to_probe(self, now_ns: int) -> list[Address]:
        """The addresses to send a probe to now."""
        if self._due_ns is None or now_ns < self._due_ns:
            return []
        if not self._relayed or self._direct is not None:
            return self._to_challenge(now_ns)
        if not self._rounds_left:
            self._rounds_left = PROBE_ROUNDS
        self._rounds_left -= 1
        self._due_ns = now_ns + (PROBE_INTERVAL_NS if self._rounds_left else PROBE_REST_NS)
        return [address for address in self._known if address != self.primary]

    def fall_back(self, now_ns: int) -> bool:
        """Back to the relay where the direct path is dead; True where that changes the path."""
        return self._direct is not None and now_ns >= self._direct_heard_ns + DEAD_NS and self.give_up_direct(now_ns)

    def give_up_direct(self, now_ns: int) -> bool:
        """Back to the relay, and look for a direct path anew; True where that changes the path."""
        if self._stopped or self._direct is None:
            return False
        self._direct = self._moved_to = None
        self._rounds_left, self._due_ns = PROBE_ROUNDS, now_ns + PROBE_INTERVAL_NS
        return True

    def next_due_ns(self) -> int | None:
        """When `to_probe` or `fall_back` has something to do next."""
        if self._stopped or self._direct is None:
            return self._due_ns
        dead_ns = self._direct_heard_ns + DEAD_NS
        return dead_ns if self._due_ns is None else min(dead_ns, self._due_ns)

    def _notice(self, source: Address, now_ns: int) -> None:
        """An address that the peer did not name: the one that we see. Probed at once (RFC 8445 section 7.3.1.4)."""
        is_new = source not in self._known
        self.add(source)
        if is_new and source in self._known and self._relayed and self._direct is None and not self._stopped:
            self._rounds_left, self._due_ns = max(self._rounds_left, 2), now_ns

    def _move(self, address: Address, now_ns: int) -> bool:
        """Follow the peer to where it is now."""
        if address != self._moved_to:
            return False
        self._moved_to = self._due_ns = None
        if self._relayed:
            self._direct, self._direct_heard_ns = address, now_ns
        else:
            self.primary = address
        return True

    def _to_challenge(self, now_ns: int) -> list[Address]:
        """Where the peer seems to be now, some times over."""
        self._rounds_left -= 1
        if self._moved_to is None or self._rounds_left < 0:
            self._due_ns = self._moved_to = None
            return []
        self._due_ns = now_ns + PROBE_INTERVAL_NS
        return [self._moved_to]
