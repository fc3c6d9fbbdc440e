"""What a user does with a call: answer, mute, hold, turn a knob. All methods belong to the event loop's thread."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from voicelink_client.phone import Phone, PhoneState

from voicelink.core.events import Agreed, Condition
from voicelink.errors import AudioError
from voicelink.units import MAX_BITS_PER_FRAME

#: The knob from quick (many frames may come too late, little delay) to safe.
LATE_RATES: Final = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
BITS_STEP: Final = 8
VOLUME_STEP_DB: Final = 3
VOLUME_DB: Final = (-30, 12)
#: A terminal does not tell that a key is let go: it repeats while it is held, first after a while, then fast.
FIRST_REPEAT_S: Final = 0.8
NEXT_REPEAT_S: Final = 0.3


class Port(Protocol):
    """What is needed of a SessionDriver."""

    def set_condition(self, condition: Condition) -> None:
        """As Session.set_condition."""

    def set_late_rate(self, share: float) -> None:
        """As Session.set_late_rate."""


class Output(Protocol):
    """What is needed of an Engine."""

    def set_gain(self, gain: float) -> None:
        """How loud the other end is played; 0: not at all."""

    def change_input(self, text: str) -> None:
        """Go on with another microphone. Raises AudioError."""

    def change_output(self, text: str) -> None:
        """Go on with another loudspeaker. Raises AudioError."""


class Controls:
    """The knobs and keys of one call. What makes no sense in the call's state has no effect."""

    def __init__(self, late_rate: float = 0.01) -> None:
        self.phone = Phone()
        self.agreed: Agreed | None = None
        self.muted = self.holding = self.deaf = False
        self.push_to_talk = False
        self.volume_db = 0
        self.bits = MAX_BITS_PER_FRAME
        """Most bits a frame that we want; the agreed range holds in any case."""
        self.late_rate = late_rate
        self.hang_up_wanted = asyncio.Event()
        self._decision: asyncio.Future[bool] | None = None
        self._talk_until_s = 0.0
        self._last_press_s = float("-inf")
        self._port: Port | None = None
        self._output: Output | None = None
        self._notices: list[str] = []

    # ---- joined to a call by `run_call` ----------------------------------------------------------
    def attach(self, port: Port, output: Output) -> None:
        """From now on changes act on this call; those made before do now."""
        self._port, self._output = port, output
        self._apply()

    # ---- the call itself -------------------------------------------------------------------------
    async def decision(self) -> bool:
        """Whether the user wants the call that rings: the next `answer` or `refuse` says so."""
        self._decision = asyncio.get_running_loop().create_future()
        return await self._decision

    def answer(self) -> None:
        """Take the call that rings here."""
        self._decide(True)

    def refuse(self) -> None:
        """Refuse it."""
        self._decide(False)

    def hang_up(self) -> None:
        """End the call, give up calling or waiting; refuses a call that rings."""
        if self._decision is not None and not self._decision.done():
            self.refuse()
        else:
            self.hang_up_wanted.set()

    # ---- switches --------------------------------------------------------------------------------
    def toggle_mute(self) -> None:
        """Send nothing of the microphone, or send again."""
        self.muted = not self.muted
        self._apply()

    def toggle_hold(self) -> None:
        """Put the other end on hold, or take it off."""
        self.holding = not self.holding
        self._apply()

    def toggle_deaf(self) -> None:
        """Play nothing of the other end, or play it again."""
        self.deaf = not self.deaf
        self._apply()

    def toggle_push_to_talk(self) -> None:
        """Send only while the talk key is held, or all the time."""
        self.push_to_talk = not self.push_to_talk
        self._talk_until_s = 0.0
        self._apply()

    def press_to_talk(self, now_s: float) -> None:
        """The talk key came (again): send until it stops to come."""
        if self.push_to_talk:
            held = now_s - self._last_press_s < FIRST_REPEAT_S
            self._last_press_s = now_s
            self._talk_until_s = max(self._talk_until_s, now_s + (NEXT_REPEAT_S if held else FIRST_REPEAT_S))
            self._apply()

    def tick(self, now_s: float) -> None:
        """Time goes on: a talk key that does not come any more has been let go."""
        if self._talk_until_s and now_s >= self._talk_until_s:
            self._talk_until_s = 0.0
            self._apply()

    @property
    def is_talking(self) -> bool:
        """Whether the talk key is held."""
        return self._talk_until_s > 0

    @property
    def is_sending(self) -> bool:
        """Whether what the microphone hears is sent."""
        standing = self.phone.state in (PhoneState.TALKING, PhoneState.RECONNECTING)
        condition = self.condition
        return standing and not (condition.muted or condition.holding or self.phone.peer.holding)

    # ---- knobs -----------------------------------------------------------------------------------
    def turn_volume(self, steps: int) -> None:
        """Louder or quieter by so many steps of 3 dB."""
        self.volume_db = min(max(self.volume_db + steps * VOLUME_STEP_DB, VOLUME_DB[0]), VOLUME_DB[1])
        self._apply()

    def turn_bitrate(self, steps: int) -> None:
        """More or fewer bits a frame, both ways, by so many steps of 8, within what was agreed on."""
        if self.agreed is not None:
            low, high = self.agreed.bits_min, self.agreed.bits_max
            now = min(self.bits, high)
            on_the_grid = now // BITS_STEP * BITS_STEP
            if steps < 0 and now % BITS_STEP:
                steps += 1
            self.bits = min(max(on_the_grid + steps * BITS_STEP, low), high)
            self._apply()

    def turn_safety(self, steps: int) -> None:
        """Towards safe (steps > 0: more delay, fewer gaps) or quick (less delay)."""
        nearest = min(range(len(LATE_RATES)), key=lambda i: abs(LATE_RATES[i] - self.late_rate))
        self.late_rate = LATE_RATES[min(max(nearest + steps, 0), len(LATE_RATES) - 1)]
        if self._port is not None:
            self._port.set_late_rate(self.late_rate)

    def change_device(self, kind: str, text: str) -> None:
        """Another `input` or `output` device: as --input or --output; how it went is among `take_notices`."""
        if self._output is not None:
            try:
                (self._output.change_input if kind == "input" else self._output.change_output)(text)
            except AudioError as error:
                self._notices.append(str(error))

    def take_notices(self) -> list[str]:
        """What could not be done, in sentences, since the last call."""
        notices, self._notices = self._notices, []
        return notices

    @property
    def safety(self) -> float:
        """Where the knob stands: 0 quick .. 1 safe."""
        return min(range(len(LATE_RATES)), key=lambda i: abs(LATE_RATES[i] - self.late_rate)) / (len(LATE_RATES) - 1)

    # ---- what follows ----------------------------------------------------------------------------
    @property
    def condition(self) -> Condition:
        """How we take part in the call."""
        muted = self.muted or (self.push_to_talk and not self.is_talking)
        return Condition(muted=muted, holding=self.holding, deaf=self.deaf, bits=self.bits)

    @property
    def gain(self) -> float:
        """How loud the other end is played, as a factor."""
        return 0.0 if self.deaf or self.holding else float(10 ** (self.volume_db / 20))

    @property
    def send_bits(self) -> int:
        """Bits a frame that we send with while we send; 0 before the call."""
        if self.agreed is None:
            return 0
        wanted = min(self.bits, self.phone.peer.bits, self.agreed.bits_max)
        return max(wanted, self.agreed.bits_min)

    def _apply(self) -> None:
        if self._port is not None and self.phone.state is not PhoneState.ENDED:
            self._port.set_condition(self.condition)
        if self._output is not None:
            self._output.set_gain(self.gain)

    def _decide(self, yes: bool) -> None:
        if self._decision is not None and not self._decision.done():
            self.phone.answered = yes
            self._decision.set_result(yes)
