"""Requests that are sent again until they are answered or given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from voicelink.settings import Address
from voicelink.units import NS_PER_MS

FIRST_INTERVAL_NS = 200 * NS_PER_MS
LONGEST_INTERVAL_NS = 800 * NS_PER_MS


class Numbered(Protocol):
    """A message with an id."""

    @property
    def id(self) -> int:
        """Unique among the requests of one exchange."""


M = TypeVar("M", bound=Numbered)


@dataclass(slots=True)
class Pending(Generic[M]):
    """A request that waits for its reply."""

    message: M
    to: Address
    due_ns: int
    interval_ns: int
    give_up_ns: int


class Exchange(Generic[M]):
    """Ids, retransmission (after 200 ms, doubling up to `longest_ns`) and giving up. It sends nothing itself."""

    def __init__(self, last_id: int = 0, longest_ns: int = LONGEST_INTERVAL_NS) -> None:
        self._last_id = last_id
        self._longest_ns = longest_ns
        self._pending: dict[int, Pending[M]] = {}

    def next_id(self) -> int:
        """An id for the next message."""
        self._last_id += 1
        return self._last_id

    def start(self, message: M, to: Address, now_ns: int, timeout_ns: int) -> None:
        """Keep `message`, which is being sent now, until `answered` or `timeout_ns` from now."""
        due, give_up = now_ns + FIRST_INTERVAL_NS, now_ns + timeout_ns
        self._pending[message.id] = Pending(message, to, due, FIRST_INTERVAL_NS, give_up)

    def answered(self, request_id: int, source: Address) -> M | None:
        """The request that a reply from `source` closes; None where there is none (a late or false reply)."""
        pending = self._pending.get(request_id)
        if pending is None or pending.to != source:
            return None
        del self._pending[request_id]
        return pending.message

    def redirect(self, to: Address) -> None:
        """Send all requests to `to` from now on, and expect their replies from there."""
        for pending in self._pending.values():
            pending.to = to

    def drop(self, kind: type) -> list[M]:
        """Give up all requests of class `kind` in silence; they are returned."""
        dropped = [p.message for p in self._pending.values() if isinstance(p.message, kind)]
        self._pending = {i: p for i, p in self._pending.items() if not isinstance(p.message, kind)}
        return dropped

    def clear(self) -> None:
        """Give up all requests in silence."""
        self._pending.clear()

    def due(self, now_ns: int) -> tuple[list[tuple[M, Address]], list[M]]:
        """What to send again now, and what was given up."""
        again, over = [], []
        for request_id, pending in list(self._pending.items()):
            if pending.give_up_ns <= now_ns:
                del self._pending[request_id]
                over.append(pending.message)
            elif pending.due_ns <= now_ns:
                again.append((pending.message, pending.to))
                pending.interval_ns = min(2 * pending.interval_ns, self._longest_ns)
                pending.due_ns = now_ns + pending.interval_ns
        return again, over

    def next_due_ns(self) -> int | None:
        """When `due` has something to do next."""
        if not self._pending:
            return None
        return min(min(p.due_ns, p.give_up_ns) for p in self._pending.values())
