"""One call under a virtual clock: `simulate(scenario) -> Trace`, protocol only.

The production `Session` of both ends (and the `Switchboard`, where the call goes through a relay) runs here between
two seeded links. The call is set up on a perfect path; once both ends are connected, the scenario begins at time 0
and lasts `scenario.seconds`. No codec runs: frames are made of zeros at the right time, and `render` puts sound to the
decisions afterwards.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import chain, repeat
from struct import Struct
from typing import Final

import numpy as np

from voicelink.core.events import (
    ComfortNoise,
    Conceal,
    Connected,
    Ended,
    Event,
    Heal,
    IncomingCall,
    PeerReport,
    Play,
    PlayoutDecision,
    Skip,
    Stretch,
)
from voicelink.core.session import Session
from voicelink.core.stats import Stats
from voicelink.core.switchboard import Switchboard
from voicelink.errors import CallError
from voicelink.frame import BOTH_CAME, FIRST_CAME, SECOND_CAME, Frame, Pause
from voicelink.settings import Address, ServerSettings
from voicelink.sim.host import Host, Network
from voicelink.sim.scenario import Scenario
from voicelink.sim.scheduler import Scheduler
from voicelink.sim.speech import pattern
from voicelink.sim.timedlink import TimedLink
from voicelink.sim.trace import (
    COMFORT,
    CONCEAL,
    DROPPED,
    HEAL,
    LOST,
    NO_FRAME,
    PLAY,
    SKIP,
    STRETCH,
    UNDERWAY,
    WAIT,
    Clock,
    EndTrace,
    Trace,
)
from voicelink.units import FRAME_SAMPLES, NS_PER_MS, NS_PER_S, WINDOW_SAMPLES, frames_to_ns
from voicelink.wire.packet import is_media

NAMES: Final = ("a", "b")
#: Addresses for documentation (RFC 5737): nothing of the simulation ever meets a real network.
ADDRESSES: Final[tuple[Address, Address]] = (("192.0.2.1", 1), ("198.51.100.2", 2))
_WAYS: Final = {ADDRESSES[0]: 0, ADDRESSES[1]: 1}
SERVER: Final[Address] = ("203.0.113.3", 47600)

#: The machines' time 0 is a second before, since 0 is often a special value.
_START_NS: Final = NS_PER_S
_SETUP_NS: Final = 10 * NS_PER_S
_SETUP_DELAY_NS: Final = NS_PER_MS
#: Frame t is complete with sample 256 t + 767, so three frames after its first sample.
_FRAMES_TO_COMPLETE: Final = (WINDOW_SAMPLES - FRAME_SAMPLES) // FRAME_SAMPLES
#: Frames that a skipping decoder takes for one slot, as in a real call.
_MAX_SKIPS: Final = 4
_PHASE_STEPS: Final = 1_000_000
_PARTS: Final = 100
_MAX_US: Final = (1 << 31) - 1
#: A decision and a packet as they are noted in the innermost loop: one packed row each, of which the trace has columns.
_SLOT: Final = Struct("<BBBBHiii")
_SLOT_FIELDS: Final = np.dtype(
    [
        *(("kind", "u1"), ("bits", "u1"), ("lag", "u1"), ("came", "u1"), ("held", "<u2")),
        *(("index", "<i4"), ("target_us", "<i4"), ("level_us", "<i4")),
    ]
)
_PACKET: Final = Struct("<qqii")
_PACKET_FIELDS: Final = np.dtype([("sent_ns", "<i8"), ("came_ns", "<i8"), ("bytes", "<i4"), ("frame", "<i4")])

#: Of each frame of an end: b"" for speech, else the background (as `codec/pauses.py` gives it).
Speech = Iterable[bytes]


def simulate(
    scenario: Scenario,
    progress: Callable[[float], None] | None = None,
    speech: tuple[Speech, Speech] | None = None,
) -> Trace:
    """Run the call. A pure function of its arguments: the same on every machine and Python version.

    `speech` says when the ends talk, which counts with `scenario.dtx` only; without it they do so at random.
    `progress` hears the share done, 0..1. Raises CallError where the call cannot be set up, ConfigError for a link that
    cannot be.
    """
    call = _Call(scenario, speech)
    try:
        call.set_up()
        return call.run(progress)
    finally:
        call.let_go()


class _Call(Network):
    """Hosts, links and records of one run."""

    def __init__(self, scenario: Scenario, speech: tuple[Speech, Speech] | None) -> None:
        self.scenario = scenario
        self.speech = speech if speech is not None and scenario.dtx else (pattern(scenario, 0), pattern(scenario, 1))
        self.scheduler = Scheduler(_START_NS)
        self.start_ns: int | None = None
        self.links: list[TimedLink] = []
        self.ends = [_End(self, number) for number in (0, 1)]
        self.hosts: dict[Address, Host] = {end.address: end for end in self.ends}
        if scenario.relay:
            server = Switchboard(ServerSettings(), entropy=_entropy(scenario, "server"))
            self.hosts[SERVER] = Host(server, SERVER, self.scheduler, self)

    def set_up(self) -> None:
        """Bring the two ends into a call."""
        caller, callee = self.ends
        now_ns = self.scheduler.now_ns
        callee.session.listen(now_ns, SERVER if self.scenario.relay else None)
        callee.drain()
        self.scheduler.run(now_ns + NS_PER_S)
        if self.scenario.relay:
            caller.session.call_name(NAMES[1], SERVER, self.scheduler.now_ns)
        else:
            caller.session.call(callee.address, self.scheduler.now_ns)
        caller.drain()
        connected = self.scheduler.run(self.scheduler.now_ns + _SETUP_NS, lambda: all(e.connected for e in self.ends))
        if not connected:
            raise CallError(
                "the simulated call could not be set up: " + "; ".join(t for e in self.ends for _, t in e.events)
            )

    def run(self, progress: Callable[[float], None] | None) -> Trace:
        """From both ends' connection to the end of the scenario."""
        self.start_ns = start_ns = self.scheduler.now_ns
        self.links = [TimedLink(self.scenario, way, start_ns) for way in (0, 1)]
        for change in self.scenario.changes:
            self.scheduler.at(start_ns + round(change.at_s * NS_PER_S), self._change, change.at_s)
        for end in self.ends:
            end.start(start_ns)
        length_ns = round(self.scenario.seconds * NS_PER_S)
        for part in range(1, _PARTS + 1):
            self.scheduler.run(start_ns + length_ns * part // _PARTS)
            if progress is not None:
                progress(part / _PARTS)
        one, other = (end.trace(start_ns) for end in self.ends)
        return Trace(self.scenario.to_mapping(), self.scenario.seconds, (one, other))

    def send(self, data: bytes, source: Address, to: Address) -> None:
        """As `Network.send`: over a perfect path before the call stands and from the relay on, else over the link."""
        now_ns = self.scheduler.now_ns
        host = self.hosts.get(to)
        if host is None or (self.scenario.relay and SERVER not in (source, to)):
            return
        if self.start_ns is None or source == SERVER:
            self.scheduler.at(now_ns + (_SETUP_DELAY_NS if self.start_ns is None else 0), host.deliver, data, source)
            return
        way = _WAYS[source]
        link = self.links[way]
        dropped = link.counts.dropped
        copies = link.carry(data, now_ns)
        for due_ns, copy in copies:
            self.scheduler.at(due_ns, host.deliver, copy, source)
        if is_media(data):
            came_ns = copies[0][0] if copies else LOST if dropped == link.counts.dropped else DROPPED
            self.ends[way].note_packet(len(data), came_ns)

    def let_go(self) -> None:
        """Break the circle of call, hosts and what is scheduled: a sweep's calls give back their memory at once."""
        self.scheduler.clear()
        self.hosts.clear()
        self.ends.clear()

    def _change(self, at_s: float) -> None:
        for end in self.ends:
            end.bits = self.scenario.bits(at_s)


class _End(Host):
    """One end: a session between a microphone and a loudspeaker."""

    def __init__(self, call: _Call, number: int) -> None:
        scenario = self._scenario = call.scenario
        self.session = _session(scenario, number)
        super().__init__(self.session, ADDRESSES[number], call.scheduler, call)
        self.connected = False
        self.bits = scenario.bits()
        self.events: list[tuple[int, str]] = []
        self._number = number
        self._encode_ns = round(scenario.encode_ms * NS_PER_MS)
        self._frame = self._sample = 0
        self._speech = chain(call.speech[number], repeat(b""))
        self._noise: list[tuple[int, bytes]] = []
        self._slots, self._packets = bytearray(), bytearray()
        self._sent_bits = array("B")

    def on_event(self, event: Event) -> None:
        """Answers a call; notes everything but the reports that come every second."""
        if isinstance(event, PeerReport):
            return
        self.events.append((self._scheduler.now_ns, _text(event)))
        if isinstance(event, IncomingCall):
            self.session.accept(self._scheduler.now_ns)
            self.send_out()
        elif isinstance(event, Connected):
            self.connected = True

    def start(self, now_ns: int) -> None:
        """The sound card starts, somewhere within a frame; the second end's runs `drift_ppm` slower."""
        phase = random.Random(f"phase {self._number} {self._scenario.seed}").random()
        start_ns = now_ns + int(phase * _PHASE_STEPS) * frames_to_ns(1) // _PHASE_STEPS
        ppb = round(self._scenario.drift_ppm * 1000) if self._number else 0
        buffer = self.session.playout
        assert buffer is not None, "the call is set up"
        self._buffer = buffer
        self._microphone = Clock(start_ns, ppb)
        self._loudspeaker = Clock(start_ns, ppb + round(self._scenario.loudspeaker_drift_ppm * 1000))
        self._scheduler.at(self._microphone.frame_ns(_FRAMES_TO_COMPLETE) + self._encode_ns, self._code)
        self._scheduler.at(start_ns, self._play)

    def note_packet(self, size_bytes: int, came_ns: int) -> None:
        """A media packet of ours was given to the link."""
        self._packets += _PACKET.pack(self._scheduler.now_ns, came_ns, size_bytes, self._frame)

    def _code(self) -> None:
        """The microphone has filled a frame, and it has been coded."""
        noise, bits = next(self._speech), 0
        if not noise:
            bits = self.session.send_bits
            if not bits or bits > self.bits:
                bits = self.bits
        second = _SECONDS[bits] if self.session.sends_second else b""
        frame = Pause(self._frame, noise) if noise else Frame(self._frame, bits, _PAYLOADS[bits], second)
        self.session.send_frame(frame, self._scheduler.now_ns)
        self.send_out()
        self._sent_bits.append(bits)
        self._frame += 1
        due_ns = self._microphone.frame_ns(self._frame + _FRAMES_TO_COMPLETE) + self._encode_ns
        self._scheduler.at(due_ns, self._code)

    def _play(self) -> None:
        """The loudspeaker wants its next slot."""
        skips, kind = 0, SKIP
        while kind in (SKIP, HEAL):  # which fill no slot
            kind = self._note(self.session.pull_frame(self._scheduler.now_ns), skips)
            skips += kind == SKIP
        self._sample += FRAME_SAMPLES if kind != WAIT else FRAME_SAMPLES // 2
        self._scheduler.at(self._loudspeaker.sample_ns(self._sample), self._play)

    def _note(self, decision: PlayoutDecision, skips: int) -> int:
        """Record one decision; its kind."""
        kind, index, bits, lag, came = WAIT, NO_FRAME, 0, 0, FIRST_CAME
        if isinstance(decision, Play):
            kind, frame, lag = PLAY, decision.frame, decision.lag
            index, bits, came = frame.index, frame.bits, _came(frame)
        elif isinstance(decision, (Conceal, ComfortNoise)):
            kind, index = CONCEAL if isinstance(decision, Conceal) else COMFORT, decision.index
            if kind == COMFORT:
                self._note_noise(decision)
        elif isinstance(decision, (Skip, Heal)):
            kind, index, bits, came = HEAL, decision.frame.index, decision.frame.bits, _came(decision.frame)
            if isinstance(decision, Skip):
                kind = SKIP if skips < _MAX_SKIPS else PLAY
        elif isinstance(decision, Stretch):
            kind = STRETCH
        buffer = self._buffer
        held, target_us, level_us = buffer.frames_held, buffer.estimator.target_ns // 1000, 0
        if buffer.level_ns is not None:
            level_us = buffer.level_ns // 1000
        level_us = min(level_us, _MAX_US)
        self._slots += _SLOT.pack(kind, bits, lag, came, held, index, target_us, level_us)
        return kind

    def _note_noise(self, decision: PlayoutDecision) -> None:
        assert isinstance(decision, ComfortNoise)
        if decision.noise and (not self._noise or self._noise[-1][1] != decision.noise):
            self._noise.append((len(self._slots) // _SLOT.size, decision.noise))

    def trace(self, start_ns: int) -> EndTrace:
        """The record, in times from `start_ns`."""
        slots, packets = np.frombuffer(self._slots, _SLOT_FIELDS), np.frombuffer(self._packets, _PACKET_FIELDS)
        came = packets["came_ns"]
        came = np.where(came > self._scheduler.now_ns, UNDERWAY, np.where(came >= 0, came - start_ns, came))
        stats = self.session.stats
        return EndTrace(
            NAMES[self._number],
            Clock(self._microphone.start_ns - start_ns, self._microphone.ppb),
            Clock(self._loudspeaker.start_ns - start_ns, self._loudspeaker.ppb),
            slots["kind"],
            slots["index"],
            slots["bits"],
            slots["lag"],
            slots["came"],
            slots["target_us"],
            slots["level_us"],
            slots["held"],
            np.frombuffer(self._sent_bits, np.uint8),
            packets["sent_ns"] - start_ns,
            came,
            packets["bytes"],
            packets["frame"],
            _counters(stats),
            tuple(sorted(stats.buffer.counts.items())),
            tuple((when_ns - start_ns, text) for when_ns, text in self.events),
            tuple(self._noise),
        )


# ---- helpers -------------------------------------------------------------------------------------
def _session(scenario: Scenario, number: int) -> Session:
    """The one place where a session is made."""
    name = NAMES[number]
    return Session(scenario.session(name), entropy=_entropy(scenario, name), local_addresses=(ADDRESSES[number],))


def _entropy(scenario: Scenario, who: str) -> Callable[[int], bytes]:
    return random.Random(f"entropy {who} {scenario.seed}").randbytes


def _counters(stats: Stats) -> dict[str, int]:
    return {f.name: getattr(stats, f.name) for f in fields(stats) if f.type == "int" and f.name != "connected_ns"}


def _text(event: Event) -> str:
    name = type(event).__name__
    return f"{name}: {event.reason} {event.detail}".strip() if isinstance(event, Ended) else name


def _came(frame: Frame) -> int:
    """Which descriptions of a frame came, as `EndTrace.came` tells it."""
    if frame.second:
        return BOTH_CAME
    return SECOND_CAME if frame.payload[0] & _SECOND_MARK else FIRST_CAME


#: Codes of each number of bits, and their second descriptions: any other, which the first bit tells from them.
_SECOND_MARK: Final = 0x80
_PAYLOADS: Final = [bytes((bits + 7) // 8) for bits in range(65)]
_SECONDS: Final = [bytes([_SECOND_MARK]) + payload[1:] for payload in _PAYLOADS]
