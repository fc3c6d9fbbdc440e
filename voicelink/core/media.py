"""The media half of a call: frames to packet bodies, packet bodies to playout decisions."""

from __future__ import annotations

from dataclasses import replace

from voicelink.core.arrivals import Arrivals
from voicelink.core.delay import DelayEstimator
from voicelink.core.events import Agreed, PlayoutDecision
from voicelink.core.feedback import PathWatch
from voicelink.core.governor import Governor
from voicelink.core.jitter import JitterBuffer
from voicelink.core.plan import Plan, fixed_plan
from voicelink.core.sender import Sender
from voicelink.core.stats import Stats
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame, Pause
from voicelink.settings import SessionSettings
from voicelink.units import NS_PER_MS, frames_to_ns
from voicelink.wire.media import Feedback, MediaPacket
from voicelink.wire.packet import MEDIA_OVERHEAD_BYTES
from voicelink.wire.seq import unwrap


class Media:
    """Sender, arrivals book and jitter buffer of one connected call."""

    def __init__(self, agreed: Agreed, settings: SessionSettings, stats: Stats) -> None:
        self._agreed = agreed
        self._stats = stats
        self._governor = Governor(settings, agreed, stats) if settings.adapts else None
        self._even = settings.constant_rate
        plan = fixed_plan(settings, agreed) if self._governor is None else self._governor.plan
        self._sender = Sender(plan, even=self._even)
        self._arrivals = Arrivals(stats)
        self._buffer = JitterBuffer(playout_estimator(settings), stats)
        self._watch = PathWatch(self._arrivals, self._buffer) if agreed.feedback else None
        self._expected_index = 0

    def send(self, frame: Frame | Pause, now_ns: int) -> list[bytes]:
        """Bodies of the packets that are complete with `frame`, or due in a pause. Raises LocalProtocolError."""
        if self._even:
            self._check_even(frame)
        if isinstance(frame, Pause):
            if self._governor is not None:
                self._governor.pause(now_ns)
            return self._booked(self._sender.pause(frame), now_ns)
        if not self._agreed.bits_min <= frame.bits <= self._agreed.bits_max:
            raise LocalProtocolError(
                f"a frame of {frame.bits} bits where the call agreed on "
                f"{self._agreed.bits_min}..{self._agreed.bits_max}"
            )
        packets = self._sender.push(frame)
        return self._booked(packets, now_ns) if packets else []

    def _check_even(self, frame: Frame | Pause) -> None:
        bits, index = self._sender.plan.bits, self._sender.next_index
        if isinstance(frame, Pause) or frame.bits != bits or (index and frame.index != index):
            raise LocalProtocolError(f"constant_rate takes every frame, {bits} bits each; this one is {frame!r}")

    def flush(self, now_ns: int) -> list[bytes]:
        """The body of the packet that was waiting for more frames, where there is one."""
        return self._booked(self._sender.flush(), now_ns)

    def _booked(self, packets: list[MediaPacket], now_ns: int) -> list[bytes]:
        if not packets or (self._governor is not None and self._governor.holds(now_ns)):
            return []
        if self._watch is not None and not self._even and (told := self._watch.due(now_ns)) is not None:
            packets[-1] = replace(packets[-1], feedback=told)
        if self._governor is not None:
            self._follow(self._governor.handle_time(now_ns))
        bodies, stats = [bytes(packet) for packet in packets], self._stats
        for packet, body in zip(packets, bodies, strict=True):
            stats.frames_sent += len(packet.frames)
            for block in packet.blocks:
                stats.redundant_frames_sent += len(block.frames)
            stats.bytes_sent += len(body) + MEDIA_OVERHEAD_BYTES
        stats.packets_sent += len(bodies)
        return bodies

    def receive(self, packet: MediaPacket, counter: int, size_bytes: int, now_ns: int) -> None:
        """Book a packet and hold its frames; `size_bytes` is the whole datagram's."""
        first = unwrap(packet.first_index, self._expected_index)
        media_ns = frames_to_ns(first) if packet.pause is None else None
        if not self._arrivals.take(counter, media_ns, size_bytes, now_ns):
            return
        self._expected_index = first + len(packet.frames)
        if self._watch is not None:
            self._watch.packet(packet, first, counter, size_bytes, now_ns)
            if packet.feedback is not None:
                self.on_feedback(packet.feedback, now_ns)
        old = _earlier(packet, first) if packet.blocks else ()
        if packet.pause is not None:
            if old:
                self._buffer.insert(old, (), now_ns)
            self._buffer.announce_silence(first - packet.pause.since, now_ns, packet.pause.noise)
            return
        new = [Frame(first + i, packet.bits, payload) for i, payload in enumerate(packet.frames)]
        self._buffer.insert(new, old, now_ns, talk_spurt_start=packet.spurt)

    def on_feedback(self, feedback: Feedback, now_ns: int) -> None:
        """The peer tells how our media arrives there."""
        if self._governor is not None:
            self._stats.feedback_received += 1
            self._follow(self._governor.on_feedback(feedback, now_ns))

    def _follow(self, changed: bool) -> None:
        """Take over what the governor decided."""
        governor, stats = self._governor, self._stats
        assert governor is not None
        stats.budget_bps, stats.path_loss_ppm = governor.budget_bps, governor.loss_ppm
        if changed:
            if self._watch is not None:
                self._watch.interval_ns = governor.feedback_interval_ns
            stats.plan_changes += 1
            self._sender.plan = governor.plan

    def feedback(self, now_ns: int) -> Feedback | None:
        """What to tell the peer in a report: where no media of ours has told it, and somebody wants to know."""
        if self._watch is None:
            return None
        return self._watch.tell(now_ns) if self._even else self._watch.overdue(now_ns)

    @property
    def governor(self) -> Governor | None:
        """What chooses rate and redundancy, to look at; None where they are fixed."""
        return self._governor

    @property
    def plan(self) -> Plan:
        """What packets hold now."""
        return self._sender.plan

    @property
    def next_index(self) -> int:
        """Index of the next frame to send, or less."""
        return self._sender.next_index

    def announce_silence(self, first_index: int, now_ns: int) -> None:
        """The peer sends nothing from the frame on whose index has the 16 low bits `first_index`."""
        self._buffer.announce_silence(unwrap(first_index, self._expected_index), now_ns)

    @property
    def frames_held(self) -> int:
        """Frames in the jitter buffer."""
        return self._buffer.frames_held

    @property
    def buffer(self) -> JitterBuffer:
        """The jitter buffer, to look at."""
        return self._buffer

    def pull(self, now_ns: int, *, quiet: bool = False) -> PlayoutDecision:
        """What fills the loudspeaker's next slot; see `JitterBuffer.pull`."""
        return self._buffer.pull(now_ns, quiet=quiet)


def _earlier(packet: MediaPacket, first: int) -> list[Frame]:
    """Frames of the blocks of a packet whose first new frame is `first`."""
    frames = []
    for number, block in enumerate(packet.blocks):
        at = first - block.distance - len(block.frames)
        # Of several blocks the first may hold second descriptions. Where it does not, they are copies like others.
        second = not number and len(packet.blocks) > 1
        frames += [
            Frame(at + i, block.bits, payload, is_second=second)
            for i, payload in enumerate(block.frames)
            if at + i >= 0
        ]
    return frames


def playout_estimator(settings: SessionSettings) -> DelayEstimator:
    """As the settings want it: adaptive within bounds, or fixed."""
    low_ms, high_ms = settings.playout_delay_min_ms, settings.playout_delay_max_ms
    if settings.playout_delay_ms:
        low_ms = high_ms = settings.playout_delay_ms
    return DelayEstimator(settings.target_late_rate, low_ms * NS_PER_MS, high_ms * NS_PER_MS)
