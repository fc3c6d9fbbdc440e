"""Any events in any order: a session and its jitter buffer never break what they promise.

The promises, checked after every event:

1. no frame is played or skipped twice, and played frames only go forward, until the position is set anew;
2. a frame heals at most once, never after it was played, and only where it was passed over;
3. what is kept is bounded: frames, missing ones, late ones, samples of the estimator, gaps of silence;
4. the target is within its bounds, and a lag within one frame;
5. slots add up: played, concealed, comfort, stretched and waiting ones are all there are;
6. a session's deadline is never in the past once it has been served;
7. what a sender plans is within what was agreed on and within its budget on the wire;
8. nothing raises.

`python -m tests.core.test_state_machine 1000000 [SEED]` runs a million events outside pytest (some minutes).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.core.world import A, B, World, frame
from voicelink.core.delay import WINDOW_FRAMES, DelayEstimator
from voicelink.core.events import (
    ComfortNoise,
    Conceal,
    Condition,
    Heal,
    Play,
    PlayoutDecision,
    Skip,
    Stretch,
    Wait,
)
from voicelink.core.jitter import CAPACITY_FRAMES, MISSING_KEPT, MOST_SKIPS, JitterBuffer
from voicelink.core.plan import Plan
from voicelink.core.session import Session
from voicelink.core.silence import MOST_KEPT
from voicelink.core.stats import Stats
from voicelink.frame import Frame, Pause
from voicelink.units import HEAL_FRAMES, LAG_STEPS, NS_PER_MS, NS_PER_S, frames_to_ns
from voicelink.wire.media import MAX_BLOCKS, MAX_DISTANCE

MOST_DELAY_NS = 2 * NS_PER_S


def _copy(index: int, bits: int) -> Frame:
    """A coarser copy of a frame, or for some numbers of bits its second description."""
    if bits % 3:
        return frame(index, 1 + bits // 2)
    return Frame(index, bits, frame(index + 1, bits).payload, is_second=True)


class Checked:
    """A jitter buffer and what is known of it from outside."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.buffer = JitterBuffer(DelayEstimator(0.01, 0, NS_PER_S), self.stats)
        self.now_ns = 0
        self.newest = 0
        self.last_played = -1
        self.healed: set[int] = set()
        self.slots = dict.fromkeys((Play, Conceal, ComfortNoise, Stretch, Wait), 0)
        self.skips = 0
        self._resyncs = 0

    # ---- events ----------------------------------------------------------------------------------
    def insert(self, first: int, count: int, old: int, bits: int, spurt: bool) -> None:
        new = [frame(first + i, bits) for i in range(count)]
        before = [_copy(first - i, bits) for i in range(min(old, first), 0, -1)]
        self.buffer.insert(new, before, self.now_ns, talk_spurt_start=spurt)
        self.newest = max(self.newest, first + count - 1)

    def silence(self, first: int) -> None:
        self.buffer.announce_silence(first, self.now_ns)

    def bounds(self, low_ns: int, high_ns: int) -> None:
        self.buffer.bounds_ns = (low_ns, high_ns)

    def rate(self, late_rate: float) -> None:
        self.buffer.estimator.target_late_rate = late_rate

    def pull(self, quiet: bool) -> None:
        """One slot, as a loudspeaker takes it."""
        skips = heals = 0
        while True:
            decision = self.buffer.pull(self.now_ns, quiet=quiet)
            self._take(decision)
            if isinstance(decision, Heal):
                heals += 1
                assert heals <= HEAL_FRAMES
            elif isinstance(decision, Skip):
                skips += 1
                assert skips <= MOST_SKIPS
            else:
                break
        self.slots[type(decision)] += 1
        self.skips += skips

    def _take(self, decision: PlayoutDecision) -> None:
        if self.stats.resyncs != self._resyncs:  # the only time at which it may go back
            self._resyncs, self.last_played = self.stats.resyncs, -1
            self.healed.clear()
        if isinstance(decision, (Play, Skip)):
            assert decision.frame.index > self.last_played, decision
            self.last_played = decision.frame.index
            assert not (decision.frame.second and decision.frame.is_second), decision
        if isinstance(decision, Play):
            assert 0 <= decision.lag < LAG_STEPS
        if isinstance(decision, Heal):
            assert decision.frame.index not in self.healed, decision
            self.healed.add(decision.frame.index)
        if isinstance(decision, Conceal):
            assert decision.run >= 1

    # ---- promises --------------------------------------------------------------------------------
    def check(self) -> None:
        buffer, stats, estimator = self.buffer, self.stats, self.buffer.estimator
        assert buffer.frames_held <= CAPACITY_FRAMES + 16
        assert len(buffer._missing) <= MISSING_KEPT
        assert len(buffer._heals) <= HEAL_FRAMES
        assert len(buffer._silence._gaps) <= MOST_KEPT
        assert len(estimator._samples) == len(estimator._sorted) <= WINDOW_FRAMES
        low_ns, high_ns = buffer.bounds_ns
        assert low_ns <= estimator.target_ns <= high_ns
        assert 0 <= estimator.late_rate <= 1
        assert stats.frames_played == self.slots[Play]
        assert stats.frames_concealed == self.slots[Conceal]
        assert stats.frames_comfort == self.slots[ComfortNoise]
        assert stats.concealment_events <= stats.frames_concealed
        assert stats.frames_interrupted <= stats.frames_concealed
        assert stats.frames_skipped >= self.skips
        assert stats.frames_inserted >= self.slots[Stretch]
        if buffer._next is not None:
            assert all(index >= buffer._next for index in buffer._held)
            assert all(index < buffer._next for index in buffer._missing)


class BufferMachine(RuleBasedStateMachine):
    """hypothesis looks for the shortest course of events that breaks a promise."""

    def __init__(self) -> None:
        super().__init__()
        self.checked = Checked()

    @rule(
        ahead=st.integers(-40, 40) | st.integers(-400, 400) | st.integers(-40_000, 40_000),
        count=st.integers(1, 8),
        old=st.integers(0, 8),
        bits=st.integers(2, 64),
        spurt=st.booleans(),
    )
    def packet(self, ahead: int, count: int, old: int, bits: int, spurt: bool) -> None:
        self.checked.insert(max(0, self.checked.newest + ahead), count, old, bits, spurt)

    @rule(count=st.integers(1, 30), quiet=st.booleans(), late_us=st.integers(0, 30_000))
    def slots(self, count: int, quiet: bool, late_us: int) -> None:
        for _ in range(count):
            self.checked.now_ns += frames_to_ns(1) + late_us * 1000
            self.checked.pull(quiet)

    @rule(count=st.integers(1, 40))
    def speech(self, count: int) -> None:
        for _ in range(count):
            self.checked.insert(self.checked.newest + 1, 1, 0, 32, False)
            self.checked.now_ns += frames_to_ns(1)
            self.checked.pull(False)

    @rule(ms=st.integers(0, 500) | st.integers(0, 100_000))
    def time(self, ms: int) -> None:
        self.checked.now_ns += ms * NS_PER_MS

    @rule(ahead=st.integers(-20, 400))
    def silence(self, ahead: int) -> None:
        self.checked.silence(max(0, self.checked.newest + ahead))

    @rule(low=st.integers(0, MOST_DELAY_NS), high=st.integers(0, MOST_DELAY_NS))
    def bounds(self, low: int, high: int) -> None:
        self.checked.bounds(min(low, high), max(low, high))

    @rule(late_rate=st.sampled_from((0.0005, 0.01, 0.2)))
    def rate(self, late_rate: float) -> None:
        self.checked.rate(late_rate)

    @invariant()
    def promises(self) -> None:
        self.checked.check()


def random_event(checked: Checked, rng: random.Random) -> None:
    """One event of a call that is mostly a call."""
    what = rng.random()
    if what < 0.5:
        checked.now_ns += rng.choice((frames_to_ns(1), frames_to_ns(1), rng.randint(0, 40 * NS_PER_MS)))
        checked.pull(rng.random() < 0.3)
    elif what < 0.9:
        ahead = rng.choice((1, 1, 1, 1, 1, 3, rng.randint(-12, 12), rng.randint(-300, 300)))
        old = rng.choice((0, 0, 2, 8))
        checked.insert(max(0, checked.newest + ahead), rng.randint(1, 3), old, rng.randint(2, 64), rng.random() < 0.05)
    elif what < 0.92:
        checked.silence(max(0, checked.newest + rng.randint(-5, 50)))
    elif what < 0.93:
        low_ns, high_ns = sorted((rng.randint(0, 300 * NS_PER_MS), rng.randint(0, MOST_DELAY_NS)))
        checked.bounds(low_ns, high_ns)
    elif what < 0.935:
        checked.now_ns += rng.randint(0, 5 * NS_PER_S)
    elif what < 0.94:
        checked.rate(rng.choice((0.0005, 0.01, 0.2)))
    elif what < 0.9405:
        checked.insert(rng.randint(0, 1 << 20), 1, 0, 8, False)
    else:
        for _ in range(rng.randint(1, 60)):  # the network brings what it held back
            checked.insert(checked.newest + 1, 1, 0, 32, False)


def run_random(events: int, number: int, every: Callable[[int], None] = lambda done: None) -> Checked:
    """`events` random events on one jitter buffer, all promises checked after each."""
    rng, checked = random.Random(number), Checked()
    for done in range(events):
        random_event(checked, rng)
        checked.check()
        every(done)
    return checked


def run_random_session(events: int, number: int) -> None:
    """Two sessions in a call: frames, pulls, lost and late datagrams, timers; deadlines are never left in the past."""
    rng = random.Random(number)
    world = World()
    a, b = world.session(A, fixed=False), world.session(B, name="bob", fixed=False)
    world.connect()
    index, ways = {A: 0, B: 0}, {A: (a, B), B: (b, A)}
    kept: list[tuple[bytes, tuple[str, int], Session]] = []
    now_ns = world.now_ns
    for _ in range(events):
        address = rng.choice((A, B))
        session, _to = ways[address]
        what = rng.random()
        if what < 0.35:
            silent = rng.random() < (0.9 if index[address] // 40 % 4 == 0 else 0.0)
            spoken = frame(index[address], session.send_bits or 8)
            if session.sends_second:
                spoken = replace(spoken, second=frame(spoken.index + 1, spoken.bits).payload)
            session.send_frame(Pause(spoken.index, bytes(8)) if silent else spoken, now_ns)
            index[address] += rng.choice((1, 1, 1, 1, rng.randint(1, 20)))
        elif what < 0.355:
            session.set_condition(Condition(muted=rng.random() < 0.3, holding=rng.random() < 0.2), now_ns)
        elif what < 0.7:
            session.pull_frame(now_ns, quiet=rng.random() < 0.2)
        elif kept:
            data, source, receiver = kept.pop(rng.randrange(len(kept)) if rng.random() < 0.2 else 0)
            if rng.random() < 0.9:
                receiver.handle_datagram(data, source, now_ns)
        now_ns += rng.choice((0, NS_PER_MS, frames_to_ns(1), rng.randint(0, 30 * NS_PER_MS)))
        for own, (machine, other) in ways.items():
            if (machine.next_timer_ns() or now_ns + 1) <= now_ns:
                machine.handle_timer(now_ns)
            due_ns = machine.next_timer_ns()
            assert due_ns is None or due_ns > now_ns
            check_sender(machine)
            kept += [(data, own, ways[other][0]) for data, _ in machine.datagrams_to_send(now_ns)]
            while machine.next_event() is not None:
                pass
        del kept[:-500]


def check_sender(session: Session) -> None:
    """What is sent stays within what was agreed on and within the budget, or is the least there is."""
    assert session.agreed is not None
    assert session.plan is not None
    agreed, plan, budget_bps = session.agreed, session.plan, session.stats.budget_bps
    assert agreed.bits_min <= plan.bits <= agreed.bits_max
    assert agreed.frames_per_packet <= plan.frames <= agreed.frames_max
    assert len(plan.repeats) <= MAX_BLOCKS
    assert all(r.distance <= MAX_DISTANCE and r.frames <= plan.frames and r.bits <= plan.bits for r in plan.repeats)
    if budget_bps:
        leanest = Plan(agreed.bits_min, agreed.frames_max)
        assert plan.wire_bps <= max(budget_bps, leanest.wire_bps)
        assert 0 <= session.stats.path_loss_ppm <= 1_000_000


def test_no_course_of_events_breaks_a_promise() -> None:
    quick = settings(
        max_examples=60, stateful_step_count=40, deadline=None, derandomize=True,
        suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    run_state_machine_as_test(seed(5)(BufferMachine), settings=quick)


def test_a_long_random_course_keeps_every_promise() -> None:
    for number in range(4):
        checked = run_random(5_000, number)
        assert checked.stats.frames_played > 1_000
        assert checked.stats.frames_healed > 10
        assert checked.stats.frames_comfort > 10


def test_sessions_under_random_events_leave_no_deadline_behind() -> None:
    for number in range(2):
        run_random_session(4_000, number)


if __name__ == "__main__":
    total, chosen = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0

    def tell(done: int) -> None:
        if done % 50_000 == 0:
            sys.stderr.write(f"{done} events\n")

    for part in range(10):
        run_random(total * 9 // 100, 10 * chosen + part, tell)
        run_random_session(total // 100, 10 * chosen + part)
    sys.stdout.write(f"{total} events, seed {chosen}: every promise kept\n")
