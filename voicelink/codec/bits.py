"""A frame's code <-> the bytes of a `Frame`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.frame import Frame
from voicelink.units import MAX_BITS_PER_FRAME

#: What the coder sees in place of a bit that was not sent.
UNSENT: Final = 0.5


def pack_code(index: int, code: NDArray[np.float32], bits: int, second: NDArray[np.float32] | None = None) -> Frame:
    """First `bits` values of a code of zeros and ones, float32 [64], as frame `index`; likewise a second one of it."""
    return Frame(index, bits, _packed(code, bits), b"" if second is None else _packed(second, bits))


def unpack_code(frame: Frame) -> NDArray[np.float32]:
    """Code of a frame, float32 [64]: 0.0 or 1.0, and 0.5 for each bit that was not sent."""
    return _unpacked(frame.payload, frame.bits)


def unpack_second(frame: Frame) -> NDArray[np.float32] | None:
    """Likewise the frame's second description; None where it has none."""
    return _unpacked(frame.second, frame.bits) if frame.second else None


def _packed(code: NDArray[np.float32], bits: int) -> bytes:
    return np.packbits(code[:bits] > 0.5).tobytes()


def _unpacked(payload: bytes, bits: int) -> NDArray[np.float32]:
    code = np.full(MAX_BITS_PER_FRAME, UNSENT, np.float32)
    code[:bits] = np.unpackbits(np.frombuffer(payload, np.uint8), count=bits)
    return code


def sent_mask(bits: int) -> NDArray[np.float32]:
    """Float32 [64]: 1.0 for each of the first `bits` bits, 0.0 after."""
    return (np.arange(MAX_BITS_PER_FRAME) < bits).astype(np.float32)
