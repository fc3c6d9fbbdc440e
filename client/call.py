"""One call from the first datagram to its end: driver, codec thread and the user's view brought together."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from voicelink_client.controls import Controls
from voicelink_client.engine import CallCodec, Engine
from voicelink_client.figures import call_figures
from voicelink_client.phone import PhoneInput, PhoneState
from voicelink_client.sentences import Notice, failure

from voicelink.audio.level import FLOOR_DBFS
from voicelink.core.events import Agreed, Condition, Connected, Ended, EndReason, Event, IncomingCall, Security
from voicelink.core.stats import Stats
from voicelink.errors import CallError, ConfigError, VoicelinkError
from voicelink.net.udp import Impairment, SessionDriver
from voicelink.secure.identity import Credentials, Trust
from voicelink.settings import Address, SessionSettings, parse_address
from voicelink.units import NS_PER_MS

STATUS_EVERY_S = 0.1
#: A caller who plays a file hangs up so long after its end, so that the last words arrive.
TAIL_S = 1.0
#: Ends of a call that nobody wanted.
BROKEN = {EndReason.SILENCE, EndReason.SERVER, EndReason.KEY, EndReason.TAMPERED}


@dataclass(frozen=True)
class CallPlan:
    """What to do: call `target` (HOST:PORT, or a name at `server`), or wait for a call where it is None."""

    session: SessionSettings
    target: str | None = None
    server: str | None = None
    local: Address = ("0.0.0.0", 0)
    seconds: float | None = None
    """Hang up so long after the call was answered."""
    end_with_input: bool = False
    """Hang up when the file that is the microphone has been spoken."""
    credentials: Credentials | None = None
    """Who we are and whom we know; None for a key of this call alone."""
    remember: Callable[[str, bytes], None] | None = None
    """Called with label and key of a peer met for the first time."""
    dscp: int = 0
    """How what is sent is marked for routers; 0 not."""
    label: str = ""
    """Under which the key of who is called without a server is remembered; by default the address."""


@dataclass(frozen=True)
class CallStatus:
    """A moment of the call, for a view."""

    stats: Stats
    seconds: float
    said_dbfs: float
    heard_dbfs: float
    said_peak_dbfs: float = FLOOR_DBFS
    heard_peak_dbfs: float = FLOOR_DBFS
    state: PhoneState = PhoneState.TALKING
    own: Condition = field(default_factory=Condition)
    peer: Condition = field(default_factory=Condition)
    """How both ends take part."""
    bits: int = 0
    """Bits a frame that are sent now; 0: none."""
    buffer_ms: float = 0.0
    """Delay in the jitter buffer now, after the fastest frame, and what it aims at."""
    target_ms: float = 0.0
    output_ms: float = 0.0
    """How long a block waits until it leaves the loudspeaker."""
    underruns: int = 0
    overruns: int = 0

    def figures(self) -> dict[str, Any]:
        """As plain values for JSON: the statistics so far, the state, and how both ends take part."""
        return self.stats.to_dict() | {
            "seconds": round(self.seconds, 1),
            "state": str(self.state),
            "muted": self.own.muted,
            "holding": self.own.holding,
            "peer_muted": self.peer.muted,
            "peer_holding": self.peer.holding,
            "send_bits": self.bits,
            "playout_delay_ms": round(self.buffer_ms, 1),
            "said_dbfs": round(self.said_dbfs, 1),
            "heard_dbfs": round(self.heard_dbfs, 1),
        }


class CallView(Protocol):
    """What the user sees and decides. All methods run on the event loop."""

    def ready(self, local: Address) -> None:
        """The socket is bound."""

    def event(self, event: Event | Notice) -> None:
        """Something happened."""

    def status(self, status: CallStatus) -> None:
        """Called some times a second during the call."""

    def ask(self, call: IncomingCall) -> Awaitable[bool]:
        """Whether to answer."""


@dataclass
class CallOutcome:
    """How it went: the last event, one end's figures, and whether the user broke in with Ctrl-C."""

    ended: Ended
    connected: bool
    interrupted: bool
    stats: Stats
    figures: dict[str, Any] = field(default_factory=dict)
    who: str = "the other end"

    def raise_for_failure(self) -> None:
        """Raise CallError where there was no call, or where it broke off."""
        failed = not self.connected or self.ended.reason in BROKEN
        if failed and not self.interrupted:
            raise CallError(failure(self.ended, self.who))


async def run_call(
    plan: CallPlan,
    codec: CallCodec,
    engine: Engine,
    view: CallView,
    *,
    impairment: Impairment | None = None,
    hang_up: asyncio.Event | None = None,
    controls: Controls | None = None,
    tones: bool = False,
) -> CallOutcome:
    """Place or await one call and stay until it has ended; closes `engine` and the socket in any case.

    SIGINT, SIGTERM and `hang_up` end it in good order; `controls` are what the user does meanwhile. With `tones` it
    sounds like a telephone, also before and after the call. Raises CallError and ConfigError where it cannot
    begin, and CallError where the codec thread breaks down.
    """
    controls = controls or Controls(plan.session.target_late_rate)
    call = _Call(plan, engine, view, hang_up or asyncio.Event(), controls, tones)
    try:
        settings = replace(plan.session, model_ids=(codec.model_id,))
        driver = await SessionDriver.open(
            settings, local=plan.local, impairment=impairment, credentials=plan.credentials, dscp=plan.dscp
        )
        try:
            with _signals(call.interrupt):
                return await call.run(driver)
        finally:
            try:
                await asyncio.to_thread(engine.stop)
            finally:  # also where the waiting is cancelled: a loop must not be left with an open socket and its timers
                await driver.close()
    finally:
        engine.stop()


def split_target(target: str, server: str | None) -> tuple[str, str | None]:
    """(HOST:PORT, None) or (name, server). Raises ConfigError for a name without a server."""
    try:
        parse_address(target)
    except ConfigError:
        if server is None:
            text = f"{target!r} is not HOST:PORT; to call by name, give the server: --server HOST:PORT"
            raise ConfigError(text) from None
        parse_address(server)
        return target, server
    return target, None


class _Call:
    """The loop over events of one call."""

    def __init__(
        self,
        plan: CallPlan,
        engine: Engine,
        view: CallView,
        hang_up: asyncio.Event,
        controls: Controls,
        tones: bool,
    ) -> None:
        self._plan, self._engine, self._view, self._hang_up = plan, engine, view, hang_up
        self._controls, self._tones = controls, tones
        self._stops = (hang_up, controls.hang_up_wanted)
        self._loop = asyncio.get_running_loop()
        self._failure: Exception | None = None
        self._agreed: Agreed | None = None
        self._security: Security | None = None
        self._interrupted = self._hanging_up = False
        self._input_ended_s: float | None = None
        self._asking: asyncio.Future[bool] | None = None

    def interrupt(self) -> None:
        """The user pressed Ctrl-C."""
        self._interrupted = True
        self._hang_up.set()

    async def run(self, driver: SessionDriver) -> CallOutcome:
        plan, phone = self._plan, self._controls.phone
        self._controls.attach(driver, self._engine)
        self._view.ready(driver.local_address)
        phone.move(PhoneInput.LISTEN if plan.target is None else PhoneInput.DIAL)
        if plan.target is None:
            await driver.listen(plan.server)
        else:
            await driver.call(*split_target(plan.target, plan.server), label=plan.label)
        ended = await self._until_ended(driver)
        stats, curve = driver.stats(), driver.late_curve()
        self._engine.finish()
        await self._last_tone()
        await asyncio.to_thread(self._engine.stop)
        if self._failure is not None:
            raise _as_call_error(self._failure) from self._failure
        figures = call_figures(stats, self._agreed, self._engine, ended, self._security)
        figures["late_curve"] = curve
        who = phone.peer_name or (plan.target if plan.server is not None and plan.target else "the other end")
        return CallOutcome(ended, self._agreed is not None, self._interrupted, stats, figures, who)

    async def _until_ended(self, driver: SessionDriver) -> Ended:
        event_task = asyncio.ensure_future(driver.next_event())
        stop_tasks = {asyncio.ensure_future(stop.wait()) for stop in self._stops}
        try:
            while True:
                waiting = {event_task} if self._hanging_up else {event_task, *stop_tasks}
                await asyncio.wait(waiting, timeout=STATUS_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if event_task.done():
                    event = event_task.result()
                    self._take(event, driver)
                    if isinstance(event, Ended):
                        return event
                    event_task = asyncio.ensure_future(driver.next_event())
                self._tick(driver)
        finally:
            for task in (event_task, *stop_tasks, self._asking):
                if task is not None:
                    task.cancel()

    def _take(self, event: Event, driver: SessionDriver) -> None:
        self._controls.phone.take(event)
        if isinstance(event, Connected):
            self._controls.agreed = event.agreed
        self._view.event(event)
        self._sound()
        if isinstance(event, IncomingCall):
            self._asking = asyncio.ensure_future(self._answer(event, driver))
        elif isinstance(event, Connected):
            self._agreed, self._security = event.agreed, event.security
            if event.security.trust is Trust.NEW and self._plan.remember is not None:
                self._plan.remember(event.security.label, event.security.peer_public)
            plan = driver.session.plan
            self._engine.start(driver, event.agreed.bits_max if plan is None else plan.bits, self._engine_failed)

    async def _answer(self, call: IncomingCall, driver: SessionDriver) -> bool:
        yes = await self._view.ask(call)
        self._controls.phone.answered = yes
        self._sound()
        if yes:
            driver.accept()
        else:
            driver.refuse()
        return yes

    def _tick(self, driver: SessionDriver) -> None:
        if self._agreed is not None:
            self._controls.phone.hears(not driver.session.is_silent)
            self._view.status(self._status(driver))
        self._controls.tick(time.monotonic())
        for text in (*self._controls.take_notices(), *self._engine.notices()):
            self._view.event(Notice(text))
        if any(stop.is_set() for stop in self._stops) or self._failure is not None or self._time_is_up():
            self._end(driver)

    def _status(self, driver: SessionDriver) -> CallStatus:
        engine, phone, playout = self._engine, self._controls.phone, driver.session.playout
        level_ns = 0 if playout is None else playout.level_ns or 0
        return CallStatus(
            driver.stats(),
            engine.seconds,
            engine.said.rms_dbfs,
            engine.heard.rms_dbfs,
            engine.said.peak_dbfs,
            engine.heard.peak_dbfs,
            phone.state,
            self._controls.condition,
            phone.peer,
            driver.send_bits(),
            buffer_ms=level_ns / NS_PER_MS,
            target_ms=0.0 if playout is None else playout.estimator.target_ns / NS_PER_MS,
            output_ms=engine.output_ms,
            underruns=engine.underruns,
            overruns=engine.overruns,
        )

    def _sound(self) -> None:
        """Let it sound as a telephone in this state."""
        tone = self._controls.phone.tone
        if self._tones:
            self._engine.tone = tone
            if tone is not None:
                self._engine.open(self._engine_failed)

    async def _last_tone(self) -> None:
        """Let the user hear how it ended; hanging up again leaves at once."""
        tone = self._controls.phone.tone
        if self._tones and tone is not None and not self._interrupted and self._failure is None:
            leaving = [asyncio.ensure_future(stop.wait()) for stop in self._stops]
            await asyncio.wait(leaving, timeout=tone.seconds, return_when=asyncio.FIRST_COMPLETED)
            for wait in leaving:
                wait.cancel()

    def _time_is_up(self) -> bool:
        plan, seconds = self._plan, self._engine.seconds
        if plan.seconds is not None and seconds >= plan.seconds:
            return True
        if plan.end_with_input and self._engine.input_ended and self._input_ended_s is None:
            self._input_ended_s = seconds
        return self._input_ended_s is not None and seconds >= self._input_ended_s + TAIL_S

    def _end(self, driver: SessionDriver) -> None:
        if not self._hanging_up:
            self._hanging_up = True
            driver.end()

    def _engine_failed(self, error: Exception) -> None:
        def note() -> None:
            self._failure = error
            self._hang_up.set()

        self._loop.call_soon_threadsafe(note)


def _as_call_error(error: Exception) -> CallError:
    if isinstance(error, VoicelinkError):
        return CallError(str(error))
    return CallError(f"the codec thread broke down: {type(error).__name__}: {error}")


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM hang up while the call runs."""
    loop = asyncio.get_running_loop()
    caught = []
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
            caught.append(number)
    except (NotImplementedError, RuntimeError, ValueError):
        pass  # Windows, or not the main thread: KeyboardInterrupt as usual
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
