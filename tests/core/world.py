"""Sessions and a server under one virtual clock, joined by links with seeded loss, delay and reordering."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from voicelink.core import events as ev
from voicelink.core.events import Event
from voicelink.core.session import Session
from voicelink.core.switchboard import Switchboard
from voicelink.frame import Frame
from voicelink.secure.identity import Credentials
from voicelink.settings import Address, ServerSettings, SessionSettings
from voicelink.units import FRAME_SAMPLES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ

SERVER: Address = ("198.51.100.1", 47600)
A: Address = ("192.0.2.1", 1001)
B: Address = ("203.0.113.2", 2002)
BASE = SessionSettings(model_ids=("model-x",), fixed=True)


def frame(index: int, bits: int = 32) -> Frame:
    """A frame whose payload tells its index."""
    value = (index * 2654435761) & ((1 << bits) - 1)
    return Frame(index, bits, (value << (-bits % 8)).to_bytes((bits + 7) // 8, "big"))


def seeded_entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


@dataclass
class LossyLink:
    """What happens between two addresses. `loss` and `reorder` are probabilities."""

    delay_ms: float = 10.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    blocked: set[tuple[Address, Address]] = field(default_factory=set)
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def fates_ns(self, source: Address, to: Address) -> list[int]:
        if (source, to) in self.blocked or self.rng.random() < self.loss:
            return []
        copies = 2 if self.rng.random() < self.duplicate else 1
        ms = [self.delay_ms + self.rng.uniform(0, self.jitter_ms) for _ in range(copies)]
        return [int(m * NS_PER_MS) for m in ms]


class World:
    """Machines by address, and the earliest thing that happens next."""

    def __init__(self, link: LossyLink | None = None) -> None:
        self.now_ns = 1_000 * NS_PER_S
        self.link = link or LossyLink()
        self.machines: dict[Address, Session | Switchboard] = {}
        self.events: dict[Address, list[Event]] = {}
        self.played: dict[Address, list[ev.PlayoutDecision]] = {}
        self.capture: list[tuple[bytes, Address, Address]] = []
        self.capture_ns: list[int] = []
        """When each of them was sent."""
        self.alter: Callable[[bytes, Address, Address], list[bytes]] = lambda data, source, to: [data]
        """Somebody on the way: what becomes of a datagram."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def session(
        self,
        address: Address,
        settings: SessionSettings = BASE,
        *,
        credentials: Credentials | None = None,
        seed: int | None = None,
        **changes: object,
    ) -> Session:
        made = Session(
            replace(settings, **changes),  # type: ignore[arg-type]
            entropy=seeded_entropy(address[1] if seed is None else seed),
            local_addresses=[address],
            credentials=credentials,
        )
        self.machines[address] = made
        self.events[address], self.played[address] = [], []
        return made

    def server(self, settings: ServerSettings | None = None) -> Switchboard:
        made = Switchboard(
            settings or ServerSettings(),
            entropy=seeded_entropy(1),
        )
        self.machines[SERVER] = made
        return made

    def at(self, when_ns: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when_ns, self._order, action))

    def run_ms(self, ms: float) -> None:
        """Let `ms` pass: drain, then always the earliest delivery or timer."""
        end_ns = self.now_ns + int(ms * NS_PER_MS)
        for _ in range(2_000_000):
            self.drain()
            timers = [t for m in self.machines.values() if (t := m.next_timer_ns()) is not None]
            queued = self._queue[0][0] if self._queue else end_ns + 1
            due_ns = min([queued, *timers])
            if due_ns > end_ns:
                break
            self.now_ns = max(self.now_ns, due_ns)
            if self._queue and queued <= self.now_ns:
                heapq.heappop(self._queue)[2]()
            else:
                for machine in self.machines.values():
                    machine.handle_timer(self.now_ns)
        else:
            raise AssertionError("the machines never come to rest")
        self.now_ns = end_ns

    def drain(self) -> None:
        for address, machine in self.machines.items():
            for data, to in machine.datagrams_to_send(self.now_ns):
                self.capture.append((data, address, to))
                self.capture_ns.append(self.now_ns)
                for after_ns in self.link.fates_ns(address, to):
                    for altered in self.alter(data, address, to):
                        self.at(self.now_ns + after_ns, self._delivery(altered, address, to))
            if isinstance(machine, Session):
                while (event := machine.next_event()) is not None:
                    self.events[address].append(event)

    def _delivery(self, data: bytes, source: Address, to: Address) -> Callable[[], None]:
        def deliver() -> None:
            if to in self.machines:
                self.machines[to].handle_datagram(data, source, self.now_ns)

        return deliver

    # ---- whole calls -----------------------------------------------------------------------------
    def connect(self, caller: Address = A, callee: Address = B, *, relayed: bool = False) -> None:
        """Bring two sessions into a call."""
        a, b = self.machines[caller], self.machines[callee]
        assert isinstance(a, Session)
        assert isinstance(b, Session)
        b.listen(self.now_ns, SERVER if relayed else None)
        self.run_ms(1000)
        if relayed:
            a.call_name("bob", SERVER, self.now_ns)
        else:
            a.call(callee, self.now_ns)
        self.run_until(callee, ev.IncomingCall)
        b.accept(self.now_ns)
        self.run_until(caller, ev.Connected)
        self.run_until(callee, ev.Connected)

    def run_until(self, address: Address, kind: type, limit_ms: int = 20_000) -> Event:
        for _ in range(limit_ms // 5):
            found = [e for e in self.events[address] if isinstance(e, kind)]
            if found:
                return found[-1]
            self.run_ms(5)
        raise AssertionError(f"no {kind.__name__} at {address}; got {self.events[address]}")

    def talk(
        self,
        speaker: Address,
        listener: Address,
        seconds: float,
        *,
        first: int = 0,
        bits: int = 32,
        drift_ppm: int = 0,
    ) -> int:
        """`speaker` sends frames in real time, `listener` pulls; `drift_ppm`: how much slower it pulls."""
        count = int(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)
        start = self.now_ns
        for i in range(count):
            at_ns = start + i * FRAME_SAMPLES * NS_PER_S // SAMPLE_RATE_HZ
            self.at(at_ns, lambda i=i: self.machines[speaker].send_frame(frame(first + i, bits), self.now_ns))
        slots = int(count * 1_000_000 / (1_000_000 + drift_ppm))
        for i in range(slots):
            at_ns = start + i * FRAME_SAMPLES * NS_PER_S * (1_000_000 + drift_ppm) // SAMPLE_RATE_HZ // 1_000_000
            self.at(at_ns, lambda: self.pull(listener))
        self.run_ms(seconds * 1000)
        return count

    def pull(self, listener: Address) -> None:
        machine = self.machines[listener]
        assert isinstance(machine, Session)
        while True:
            decision = machine.pull_frame(self.now_ns)
            self.played[listener].append(decision)
            if not isinstance(decision, (ev.Skip, ev.Heal)):
                return
