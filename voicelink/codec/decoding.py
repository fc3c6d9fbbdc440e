"""From playout decisions to mel frames: what a decoder does before its vocoder, for frames in time, late, or never.

Pure functions from state to state, written as generators: each yields the `CoderStep`s that it needs, is sent their
results, and returns what is to be heard and the next state. So one text serves a call, which runs each step at once
(`run`), and a simulation, which runs the steps of many streams together (`batch.py`).

* A frame that is missing is *guessed*: the prior's code takes the coder on. A guess belongs to a frame index; the state
  before each is kept, back to the first one not yet made good (`CoderState.past`), with the codes that came since.
* If the next frame to come has the index of a guess, playout had only waited for it: the guesses are taken back.
* A late frame, `heal`, takes its guess's place, and the codes from there on are run once more, which gives the state
  that the sender has. No more than `HEAL_STEPS` a slot: a longer way is gone in several slots, while playout goes on.
* With a lag, what is heard lies between the last two frames: so playout runs faster or slower without a step.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias, TypeVar

import numpy as np

from voicelink.codec.bits import sent_mask
from voicelink.codec.concealment import expected_code, fade, initial_comfort, is_quiet, toward_comfort, track_comfort
from voicelink.codec.engine import Array, Engine
from voicelink.codec.pauses import spread
from voicelink.units import HEAL_FRAMES, LAG_STEPS, MAX_BITS_PER_FRAME

#: Coder steps that healing takes in one slot at most.
HEAL_STEPS: Final = 10
#: A frame that nobody concealed (left out because it was missing) is guessed; not more than so many in one slot.
MOST_GUESSES: Final = 4

T = TypeVar("T")


class CoderStep(NamedTuple):
    """A step of the coder that is to be run; its result is (log-mel [1, 80], state [1, h])."""

    state: Array
    code: Array | None
    """[1, 64]; None for what the prior expects."""
    sent: Array
    """[1, 64]: which bits of a guess count."""


Steps: TypeAlias = Generator[CoderStep, tuple[Array, Array], T]


class Past(NamedTuple):
    """One frame since the first guess that may still be made good."""

    state: Array
    """Before it."""
    code: Array | None
    """None for a guess."""


class CoderState(NamedTuple):
    """What a decoder carries from slot to slot, but for the vocoder; immutable."""

    state: Array
    """[1, h], before frame `expected`."""
    expected: int | None
    """The frame that comes next in the sender's order; None before the first."""
    mel: Array
    """[1, 80], the newest log-mel frame, as it would be heard without a lag."""
    comfort: Array
    """[1, 80], the background's log-mel."""
    concealed: int
    """How many slots in a row were guesses."""
    sent: Array
    """[1, 64]: which bits the last frame had; a lost one is taken to have had as many."""
    past: tuple[Past, ...]
    """Frames `expected - len(past)` to `expected - 1`, HEAL_FRAMES at most (2 kB each at h = 512); empty where nothing
    is to be made good."""
    dirty: int
    """From this place in `past` on the codes are to be run again; len(past) where none are."""

    @property
    def quiet(self) -> bool:
        """Whether the newest frame is no louder than the background."""
        return is_quiet(self.mel, self.comfort)


def initial(engine: Engine) -> CoderState:
    """Before the first frame."""
    comfort = initial_comfort()
    every = sent_mask(MAX_BITS_PER_FRAME)[None]
    return CoderState(engine.coder_state(), None, comfort, comfort, 0, every, (), 0)


def play(
    state: CoderState, index: int, code: Array, bits: int, lag: int = 0, second: Array | None = None
) -> Steps[tuple[Array, CoderState]]:
    """Frame `index` came, code [1, 64] of `bits` bits: log-mel [1, 80] to be heard, and the next state.

    With a `second` description, [1, 64], what is heard is the mean of both; the state follows the first. (A second one
    alone is decoded as if it were the first, which leaves the state a little off the sender's.)
    """
    state = yield from _healed(state)
    state = yield from _at(state, index)
    mel, following = yield CoderStep(state.state, code, state.sent)
    if second is not None:
        other, _ = yield CoderStep(state.state, second, state.sent)
        mel = (mel + other) * np.float32(0.5)
    past, dirty = _grown(state, code)
    heard = mel if not lag else mel + np.float32(lag / LAG_STEPS) * (state.mel - mel)
    comfort = track_comfort(state.comfort, mel)
    return heard, CoderState(following, index + 1, mel, comfort, 0, sent_mask(bits)[None], past, dirty)


def conceal(state: CoderState) -> Steps[tuple[Array, CoderState]]:
    """The next frame is missing: log-mel [1, 80] in its place, and the next state."""
    state = yield from _healed(state)
    guess, state = yield from _guess(state)
    concealed = state.concealed + 1
    mel = fade(guess, state.comfort, concealed)
    return mel, state._replace(mel=mel, concealed=concealed)


def heal(state: CoderState, index: int, code: Array) -> CoderState:
    """A late frame came. Nothing is run yet; the next slot begins with it."""
    if state.expected is None:
        return state
    place = index - (state.expected - len(state.past))
    if not 0 <= place < len(state.past):
        return state  # too late, or never missed
    past = (*state.past[:place], state.past[place]._replace(code=code), *state.past[place + 1 :])
    return state._replace(past=past, dirty=min(state.dirty, place))


def stretch(state: CoderState) -> Steps[tuple[Array, CoderState]]:
    """A slot without a new frame: the newest one is heard on."""
    state = yield from _healed(state)
    return state.mel, state


def comfort_noise(state: CoderState, index: int, noise: bytes = b"") -> Steps[tuple[Array, CoderState]]:
    """A slot of announced silence in place of frame `index`: the background, as `noise` tells it where it does.

    The coder stands still, as the sender's does: guesses made before the silence was known are taken back.
    """
    state = yield from _healed(state)
    past = state.past
    while past and past[-1].code is None:
        state, past = state._replace(state=past[-1].state), past[:-1]
    comfort = spread(noise, state.comfort) if noise else state.comfort
    mel = toward_comfort(state.mel, comfort)
    return mel, state._replace(mel=mel, comfort=comfort, concealed=0, expected=index + 1, past=(), dirty=0)


def run(engine: Engine, steps: Steps[T]) -> T:
    """Run the steps one by one."""
    try:
        step = next(steps)
        while True:
            code = step.code
            if code is None:
                code = expected_code(engine.prior_step(step.state), step.sent)
            step = steps.send(engine.decode_step(code, step.state))
    except StopIteration as done:
        result: T = done.value
        return result


# ---- helpers -------------------------------------------------------------------------------------
def _guess(state: CoderState) -> Steps[tuple[Array, CoderState]]:
    """Take the coder past a missing frame; its log-mel as guessed."""
    mel, following = yield CoderStep(state.state, None, state.sent)
    past = (*state.past, Past(state.state, None))
    clean = state.dirty == len(state.past)
    state = state._replace(state=following, past=past, dirty=len(past) if clean else state.dirty)
    if state.expected is not None:
        state = state._replace(expected=state.expected + 1)
    return mel, _trimmed(state)


def _grown(state: CoderState, code: Array) -> tuple[tuple[Past, ...], int]:
    """`past` and `dirty` after a frame that came; nothing is kept where nothing is missing."""
    if not state.past:
        return (), 0
    past = (*state.past, Past(state.state, code))
    grown = _trimmed(state._replace(past=past, dirty=len(past) if state.dirty == len(state.past) else state.dirty))
    return grown.past, grown.dirty


def _at(state: CoderState, index: int) -> Steps[CoderState]:
    """Bring the coder to where frame `index` is next: take guesses back, or guess what was passed over."""
    if state.expected is None or not -len(state.past) <= index - state.expected <= MOST_GUESSES:
        return state._replace(expected=index, past=(), dirty=0)
    while state.expected is not None and state.expected < index:
        _, state = yield from _guess(state)
    back = (state.expected or 0) - index
    if back and all(past.code is None for past in state.past[-back:]):
        kept = len(state.past) - back
        state = state._replace(state=state.past[kept].state, past=state.past[:kept], dirty=min(state.dirty, kept))
        return _trimmed(state._replace(expected=index))
    return state._replace(expected=index, past=(), dirty=0) if back else state


def _healed(state: CoderState) -> Steps[CoderState]:
    """Run codes again from the first one that changed on, as many as a slot may take."""
    place = state.dirty
    if place == len(state.past):
        return state
    past, following = list(state.past), state.state
    for place in range(state.dirty, min(state.dirty + HEAL_STEPS, len(past))):
        _, after = yield CoderStep(past[place].state, past[place].code, state.sent)
        if place + 1 < len(past):
            past[place + 1] = past[place + 1]._replace(state=after)
        else:
            following = after
    return _trimmed(state._replace(state=following, past=tuple(past), dirty=place + 1))


def _trimmed(state: CoderState) -> CoderState:
    """Forget what is too old, and what came before the first guess that is left."""
    past, dirty = state.past, state.dirty
    first = max(0, len(past) - HEAL_FRAMES)
    while first < len(past) and first < dirty and past[first].code is not None:
        first += 1
    if not first:
        return state
    return state._replace(past=past[first:], dirty=max(dirty - first, 0))
