"""Frames into media packets: bundling, earlier frames once more, and pauses."""

from __future__ import annotations

from collections import deque
from typing import Final

from voicelink.core.plan import Plan, Repeat
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame, Pause
from voicelink.wire.media import MAX_BLOCK_FRAMES, MAX_DISTANCE, MAX_SINCE, Block, MediaPacket, PauseNotice

#: Frames from a pause's first notice to its second, which is there in case the first gets lost, and between the others:
#: a little more than the time between two feedbacks, so that each can carry one.
SOON, EVERY = 4, 36
_HISTORY: Final = MAX_DISTANCE + MAX_BLOCK_FRAMES


class Sender:
    """Makes packets as `plan` says, which may be set at any time and holds from the next packet on.

    `even`: all packets have one size, so that the first ones repeat frames before the first as zeros, which the other
    end passes over.
    """

    def __init__(self, plan: Plan, *, even: bool = False) -> None:
        self.plan = plan
        self._bundle: list[Frame] = []
        self._history: deque[Frame] = deque(maxlen=_HISTORY)  # consecutive, up to the bundle
        if even:
            nothing = Frame(0, plan.bits, bytes((plan.bits + 7) // 8))
            self._history.extend([nothing] * plan.reach)
        self._last_index = -1
        self._paused_from: int | None = None
        self._notices = self._notice_due = 0
        self._spurt = False

    def push(self, frame: Frame) -> list[MediaPacket]:
        """The packets that are complete with `frame`: mostly none or one.

        A change of bits, or a gap in the indices, closes the packet before it, so there can be two.
        Raises LocalProtocolError for an index that does not come after the last one.
        """
        if frame.index <= self._last_index:
            raise LocalProtocolError(f"frame {frame.index} after frame {self._last_index}; indices must rise")
        done, bundle = [], self._bundle
        spurt = self._paused_from is not None
        follows = frame.index == self._last_index + 1 and not spurt
        if bundle and (frame.bits != bundle[0].bits or not follows):
            done.append(self._close())
        if not follows:
            self._history.clear()
        if spurt:
            self._spurt, self._paused_from = True, None
        self._bundle.append(frame)
        self._last_index = frame.index
        if len(self._bundle) >= self.plan.frames:
            done.append(self._close())
        return done

    def pause(self, pause: Pause) -> list[MediaPacket]:
        """The packets that are due where frame `pause.index` is silence: mostly none.

        What waited leaves with the first one. The first two repeat the last frames, where the plan repeats any.
        Raises LocalProtocolError as `push`.
        """
        index = pause.index
        if index <= self._last_index:
            raise LocalProtocolError(f"a pause at frame {index} after frame {self._last_index}; indices must rise")
        done = self.flush()
        if self._paused_from is None:
            if index != self._last_index + 1:
                self._history.clear()
            self._paused_from, self._notices, self._notice_due = index, 0, index
        if index >= self._notice_due:
            self._notices += 1
            self._notice_due = index + (SOON if self._notices == 1 else EVERY)
            done.append(self._notice(index + 1, index + 1 - self._paused_from, pause.noise))
        self._last_index = index
        return done

    @property
    def is_paused(self) -> bool:
        """Whether the talker is silent."""
        return self._paused_from is not None

    @property
    def next_index(self) -> int:
        """The least index that the next frame may have."""
        return self._last_index + 1

    def flush(self) -> list[MediaPacket]:
        """The packet that was waiting for more frames, where there is one: none will come for now."""
        return [self._close()] if self._bundle else []

    def _close(self) -> MediaPacket:
        new, repeats = self._bundle, self.plan.repeats
        blocks = self._blocks(repeats) if repeats else ()
        self._history.extend(new)
        self._bundle = []
        spurt, self._spurt = self._spurt, False
        return MediaPacket(new[0].index & 0xFFFF, new[0].bits, tuple([f.payload for f in new]), blocks, spurt)

    def _notice(self, next_index: int, since: int, noise: bytes) -> MediaPacket:
        repeats, history = self.plan.repeats, self._history
        blocks: tuple[Block, ...] = ()
        if repeats and history and self._notices <= 2 and since <= MAX_DISTANCE:
            frames = [history[i] for i in range(max(0, len(history) - MAX_BLOCK_FRAMES), len(history))]
            bits = min(repeats[0].bits, *(f.bits for f in frames))
            blocks = (Block(since, bits, tuple([f.truncated(bits).payload for f in frames])),)
        return MediaPacket(next_index & 0xFFFF, 0, (), blocks, pause=PauseNotice(min(since, MAX_SINCE), noise))

    def _blocks(self, repeats: tuple[Repeat, ...]) -> tuple[Block, ...]:
        """What there is of the frames to be repeated before those of the bundle."""
        history, made = self._history, list[Block]()
        twice = self.plan.repeats_twice and len(history) > repeats[1].distance
        for repeat in repeats:
            end = len(history) - repeat.distance
            frames = [history[i] for i in range(max(0, end - repeat.frames), end)]
            if frames:
                bits = min(repeat.bits, *(f.bits for f in frames))
                codes = [_copy(f, bits, second=twice and not made) for f in frames]
                made.append(Block(repeat.distance, bits, tuple(codes)))
        return tuple(made)


def _copy(frame: Frame, bits: int, *, second: bool) -> bytes:
    """What is sent of a frame again; a `second` description, where it has one, only instead of a whole copy."""
    return frame.second if second and frame.second and bits == frame.bits else frame.truncated(bits).payload
