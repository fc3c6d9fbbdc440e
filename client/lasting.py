"""A microphone and a loudspeaker that outlive their devices: silence where one is gone, until there is one again.

Both keep one rate whatever the device's is, so that a change of device changes nothing for their user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from voicelink_client.keeper import Keeper
from voicelink_client.streams import OUTPUT_LATENCY_NS, Sink, Source

from voicelink.audio.resampler import StreamResampler
from voicelink.units import NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ, samples_to_ns

#: A device that moved no sound for so long is stood in for by silence at the clock's pace.
STALLED_NS: Final = 150 * NS_PER_MS
#: One that moved none for so long is closed and looked for.
LOST_NS: Final = NS_PER_S
#: The clock's pace is not caught up with over more than this.
MAX_BEHIND_NS: Final = NS_PER_S // 2
#: What a device that comes back may hand over beyond the time since the last silence.
SLACK_NS: Final = 20 * NS_PER_MS
#: Silence comes in blocks as long as a device's.
SILENCE_NS: Final = 10 * NS_PER_MS

#: So many xruns of the device within this time are a storm: its buffers are too short for this machine.
STORM_XRUNS: Final = 6
STORM_NS: Final = NS_PER_S


class LastingSource:
    """A `Source` around what `open_source` opens. Raises AudioError where the first cannot be opened."""

    def __init__(
        self,
        text: str,
        open_source: Callable[..., Source],
        rescan: Callable[[], bool],
        rate_hz: int = SAMPLE_RATE_HZ,
    ) -> None:
        self.rate_hz = rate_hz
        self._inner: Source | None = None
        self._first = open_source(text)
        self.keeper: Keeper[Source] = Keeper("input device", text, open_source, rescan)
        self._past_overruns = self._past_xruns = 0
        self._until_ns = 0  # up to then all sound was handed on, or silence in its place
        self._filling = False

    @property
    def overruns(self) -> int:
        """Times that sound was lost because nobody read it in time."""
        return self._past_overruns + (self._inner.overruns if self._inner is not None else 0)

    @property
    def device_xruns(self) -> int:
        """Times that the device itself said that it lost sound."""
        return self._past_xruns + _xruns(self._inner)

    def start(self, now_ns: int) -> None:
        """Begin to capture; silence until the device does."""
        self._until_ns = now_ns
        self.keeper.begin(self._first)

    def read(self, now_ns: int) -> NDArray[np.float32] | None:
        """What was captured since the last call, or silence in its place, float32 [n] at `rate_hz`."""
        if (fresh := self.keeper.take()) is not None:
            self._replace(fresh)
        inner = self._inner
        if inner is not None:
            if (block := inner.read(now_ns)) is not None:
                return self._taken(block, inner.rate_hz, now_ns)
            idle_ns = inner.idle_ns(now_ns)
            if idle_ns > LOST_NS:
                self._let_go(self.keeper.lose)
            elif self._storm.is_on(inner.device_xruns, now_ns):
                self._let_go(self.keeper.stumble)
            elif idle_ns <= STALLED_NS:
                return None
        return self._silence(now_ns)

    def due_ns(self, now_ns: int) -> int:
        """When to ask again."""
        return self._inner.due_ns(now_ns) if self._inner is not None else self._until_ns + SILENCE_NS

    @property
    def ended(self) -> bool:
        """Whether only silence will come from now on."""
        return self._inner is not None and self._inner.ended

    def close(self) -> None:
        """Release the device."""
        self.keeper.stop()
        for end in (self._first, self._inner):
            if end is not None:
                end.close()

    def _taken(self, block: NDArray[np.float32], rate_hz: int, now_ns: int) -> NDArray[np.float32] | None:
        if self._filling:  # what silence stood in for is not said twice
            keep = (now_ns - self._until_ns + SLACK_NS) * rate_hz // NS_PER_S
            block = block[-keep:] if keep < len(block) else block
            self._filling = False
        self._until_ns = now_ns
        out = self._resampler.push(block)
        return out if len(out) else None

    def _silence(self, now_ns: int) -> NDArray[np.float32] | None:
        if now_ns < self._until_ns + SILENCE_NS:
            return None
        self._filling = True
        self._until_ns = max(self._until_ns + SILENCE_NS, now_ns - MAX_BEHIND_NS)
        return np.zeros(self.rate_hz * SILENCE_NS // NS_PER_S, np.float32)

    def _let_go(self, then: Callable[[Source], None]) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            self._remember(inner)
            then(inner)

    def _replace(self, fresh: Source) -> None:
        self._let_go(self.keeper.dispose)
        self._use(fresh)

    def _use(self, source: Source) -> None:
        self._inner, self._storm = source, _Storm()
        self._resampler = StreamResampler(source.rate_hz, self.rate_hz)

    def _remember(self, source: Source) -> None:
        self._past_overruns += source.overruns
        self._past_xruns += _xruns(source)


class LastingSink:
    """A `Sink` around what `open_sink` opens. Raises AudioError where the first cannot be opened."""

    rate_hz = SAMPLE_RATE_HZ

    def __init__(self, text: str, open_sink: Callable[..., Sink], rescan: Callable[[], bool]) -> None:
        self._inner: Sink | None = None
        self._first = open_sink(text)
        self.keeper: Keeper[Sink] = Keeper("output device", text, open_sink, rescan)
        self._past_underruns = self._past_xruns = 0
        self._next_ns = 0  # when the next block is wanted where no device says so
        self._alone = False

    @property
    def underruns(self) -> int:
        """Times that the loudspeaker had nothing to play."""
        return self._past_underruns + (self._inner.underruns if self._inner is not None else 0)

    @property
    def device_xruns(self) -> int:
        """Times that the device itself said that it lacked sound."""
        return self._past_xruns + _xruns(self._inner)

    def start(self, now_ns: int) -> None:
        """Begin to play; at the clock's pace until the device does."""
        self._next_ns = now_ns
        self.keeper.begin(self._first)

    def wants(self, now_ns: int) -> bool:
        """Whether 256 samples must be written now: the device says so, or without one the clock."""
        if (fresh := self.keeper.take()) is not None:
            self._replace(fresh)
        if self._inner is not None:
            idle_ns = self._inner.idle_ns(now_ns)
            if idle_ns > LOST_NS:
                self._let_go(self.keeper.lose)
                return False
            if self._storm.is_on(self._inner.device_xruns, now_ns):
                self._let_go(self.keeper.stumble)
                return False
            self._alone = idle_ns > STALLED_NS
            if not self._alone:
                return self._inner.wants(now_ns)
        return now_ns >= self._next_ns

    def write(self, block: NDArray[np.float32], now_ns: int) -> int:
        """Play float32 [n]; returns when its first sample leaves the loudspeaker, or would, ns."""
        if self._inner is not None and not self._alone:
            self._next_ns = now_ns + samples_to_ns(len(block))
            return self._inner.write(self._resampler.push(block), now_ns)
        self._next_ns = max(self._next_ns + samples_to_ns(len(block)), now_ns - MAX_BEHIND_NS)
        return self._next_ns + OUTPUT_LATENCY_NS

    def due_ns(self, now_ns: int) -> int:
        """When to ask again."""
        return self._inner.due_ns(now_ns) if self._inner is not None else self._next_ns

    def close(self) -> None:
        """Release the device."""
        self.keeper.stop()
        for end in (self._first, self._inner):
            if end is not None:
                end.close()

    def _let_go(self, then: Callable[[Sink], None]) -> None:
        inner, self._inner, self._alone = self._inner, None, True
        if inner is not None:
            self._remember(inner)
            then(inner)

    def _replace(self, fresh: Sink) -> None:
        self._let_go(self.keeper.dispose)
        self._use(fresh)

    def _use(self, sink: Sink) -> None:
        self._inner, self._alone, self._storm = sink, False, _Storm()
        self._resampler = StreamResampler(SAMPLE_RATE_HZ, sink.rate_hz)

    def _remember(self, sink: Sink) -> None:
        self._past_underruns += sink.underruns
        self._past_xruns += _xruns(sink)


class _Storm:
    """Whether a device has one xrun after the other."""

    def __init__(self) -> None:
        self._since_ns: int | None = None
        self._before = 0

    def is_on(self, xruns: int, now_ns: int) -> bool:
        """To be asked often, with the device's count."""
        if self._since_ns is None or now_ns >= self._since_ns + STORM_NS:
            self._since_ns, self._before = now_ns, xruns
        return xruns - self._before >= STORM_XRUNS


def _xruns(end: Source | Sink | None) -> int:
    return end.device_xruns if end is not None else 0
