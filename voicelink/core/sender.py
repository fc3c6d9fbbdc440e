"""Frames into media packets: bundling, and the last frames once more."""

from __future__ import annotations

from collections import deque

from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame
from voicelink.wire.packet import MediaPacket


class Sender:
    """Bundles `frames_per_packet` frames and repeats the `redundancy` frames before them.

    `redundant_bits` limits the bits of a repeated frame (0: repeat it whole).
    """

    def __init__(self, frames_per_packet: int, redundancy: int = 0, redundant_bits: int = 0) -> None:
        self._frames_per_packet = frames_per_packet
        self._redundant_bits = redundant_bits
        self._bundle: list[Frame] = []
        self._history: deque[Frame] = deque(maxlen=redundancy)
        self._last_index = -1

    def push(self, frame: Frame) -> list[MediaPacket]:
        """The packets that are complete with `frame`: mostly none or one.

        A change of bits, or a gap in the indices, closes the packet before it, so there can be two.
        Raises LocalProtocolError for an index that does not come after the last one.
        """
        if frame.index <= self._last_index:
            raise LocalProtocolError(f"frame {frame.index} after frame {self._last_index}; indices must rise")
        done = []
        if self._bundle and (frame.bits != self._bundle[0].bits or frame.index != self._last_index + 1):
            done.append(self._close())
        if frame.index != self._last_index + 1:
            self._history.clear()
        self._bundle.append(frame)
        self._last_index = frame.index
        if len(self._bundle) == self._frames_per_packet:
            done.append(self._close())
        return done

    @property
    def next_index(self) -> int:
        """The least index that the next frame may have."""
        return self._last_index + 1

    def flush(self) -> list[MediaPacket]:
        """The packet that was waiting for more frames, where there is one: none will come for now."""
        return [self._close()] if self._bundle else []

    def _close(self) -> MediaPacket:
        new, old = self._bundle, list(self._history)
        bits = min((f.bits for f in old), default=0)
        if self._redundant_bits:
            bits = min(bits, self._redundant_bits)
        self._history.extend(new)
        self._bundle = []
        return MediaPacket(
            new[0].index & 0xFFFF,
            new[0].bits,
            tuple(f.payload for f in new),
            bits,
            tuple(f.truncated(bits).payload for f in old),
        )
