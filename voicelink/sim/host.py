"""The driver in virtual time: makes the same calls on the same machines as `net/udp.py`, and decides nothing."""

from __future__ import annotations

from typing import Protocol

from voicelink.core.events import Event
from voicelink.core.session import Session
from voicelink.core.switchboard import Switchboard
from voicelink.settings import Address
from voicelink.sim.scheduler import Scheduler


class Network(Protocol):
    """Takes datagrams and delivers them to hosts, later or never."""

    def send(self, data: bytes, source: Address, to: Address) -> None:
        """A datagram leaves `source` now."""


class Host:
    """One machine at one address. Give it inputs through `input` or `deliver`; `on_event` hears its events."""

    def __init__(
        self, machine: Session | Switchboard, address: Address, scheduler: Scheduler, network: Network
    ) -> None:
        self.machine, self.address = machine, address
        self._session = machine if isinstance(machine, Session) else None
        self._scheduler, self._network = scheduler, network
        self._armed_ns: int | None = None

    def deliver(self, data: bytes, source: Address) -> None:
        """A datagram comes in."""
        self.machine.handle_datagram(data, source, self._scheduler.now_ns)
        self.drain()

    def drain(self) -> None:
        """Take all outputs after an input: datagrams to the network, events, the next deadline."""
        self.send_out()
        if self._session is not None:
            while (event := self._session.next_event()) is not None:
                self.on_event(event)
        due_ns = self.machine.next_timer_ns()
        if due_ns is not None and (self._armed_ns is None or due_ns < self._armed_ns):
            self._armed_ns = due_ns
            self._scheduler.at(due_ns, self._wake, due_ns)

    def send_out(self) -> None:
        """Datagrams alone (after an input that moves no deadline and makes no event)."""
        for data, to in self.machine.datagrams_to_send(self._scheduler.now_ns):
            self._network.send(data, self.address, to)

    def on_event(self, event: Event) -> None:
        """The machine tells something."""

    def _wake(self, due_ns: int) -> None:
        """The earliest deadline that was asked for; a machine that moved it on is asked again."""
        if due_ns != self._armed_ns:
            return
        self._armed_ns = None
        self.machine.handle_timer(self._scheduler.now_ns)
        self.drain()
