r"""The `.vlk` file: coded speech on disk, as dense as on the wire.

All integers are little-endian. R runs, F frames in all, B bits in all:

| offset   | bytes       | what                                                                   |
|----------|-------------|------------------------------------------------------------------------|
| 0        | 4           | magic `89 56 4C 4B` (`\x89VLK`; the high bit shows a 7-bit transfer)   |
| 4        | 1           | version, 1                                                             |
| 5        | 1           | length M of the model id, 1..64                                        |
| 6        | 4           | sample rate of the source, Hz, 4 000..768 000                          |
| 10       | 8           | samples of the source, at most 12 hours                                |
| 18       | 4           | number of runs R                                                       |
| 22       | M           | model id, printable ASCII                                              |
| 22 + M   | 5 R         | runs: frames (4 bytes, not 0) and bits a frame (1 byte, 1..64)         |
| 22+M+5R  | ceil(B / 8) | codes of all frames, no gap between, most significant bit first, the   |
|          |             | last byte filled up with zeros                                         |
| end - 4  | 4           | CRC-32 (ISO 3309) of everything before                                 |

Neighbouring runs differ in their bits, so a value has one file only. A file is exactly as long as its header
says. Counts are compared with the length before anything is allocated for them.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import AudioError
from voicelink.frame import Frame
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, MAX_RATE_HZ, MIN_RATE_HZ, SAMPLE_RATE_HZ

MAGIC: Final = b"\x89VLK"
VERSION: Final = 1
MAX_MODEL_ID: Final = 64
#: An encoder pads to three frames at least, and rounds up.
MAX_EXTRA_FRAMES: Final = 4
#: A frame in memory takes a thousand times the bytes of its code on disk: no file may ask for all there is.
MAX_SECONDS: Final = 12 * 3600

_HEADER: Final = struct.Struct("<4sBBIQI")
_RUN: Final = struct.Struct("<IB")
_CRC: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class EncodedSpeech:
    """A coded signal: frames 0, 1, 2 ... made by `model_id` from `samples` samples at `sample_rate` Hz.

    Raises AudioError where these do not fit each other, so that every value there is can be written.
    """

    model_id: str
    sample_rate: int
    samples: int
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if any(frame.index != i for i, frame in enumerate(self.frames)):
            raise AudioError("coded speech: frame indices are not 0, 1, 2 ...")
        _check_header("coded speech", self.model_id.encode(), self.sample_rate, self.samples, len(self.frames))

    @property
    def seconds(self) -> float:
        """Length of the source."""
        return self.samples / self.sample_rate

    @property
    def payload_bits(self) -> int:
        """Bits of all codes."""
        return sum(frame.bits for frame in self.frames)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all codes, packed without a gap."""
        return (self.payload_bits + 7) // 8

    @property
    def bitrate_bps(self) -> float:
        """Mean bitrate of the codes over the frames' time; 0 without frames."""
        samples = len(self.frames) * FRAME_SAMPLES
        return self.payload_bits * SAMPLE_RATE_HZ / samples if samples else 0.0

    def runs(self) -> list[tuple[int, int]]:
        """(frames, bits a frame) of each run of frames with equal bits."""
        grouped = itertools.groupby(self.frames, key=lambda frame: frame.bits)
        return [(sum(1 for _ in group), bits) for bits, group in grouped]

    def to_bytes(self) -> bytes:
        """The `.vlk` file."""
        runs, name = self.runs(), self.model_id.encode()
        head = _HEADER.pack(MAGIC, VERSION, len(name), self.sample_rate, self.samples, len(runs))
        body = head + name + b"".join(_RUN.pack(*run) for run in runs) + _pack(self.frames)
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "data") -> EncodedSpeech:
        """Parse a `.vlk` file. Raises AudioError, beginning with `where`, for anything else."""
        _check_frame_of_file(data, where)
        _, _, name_bytes, rate, samples, run_count = _HEADER.unpack_from(data)
        body = memoryview(data)[: len(data) - _CRC.size]
        runs_at = _HEADER.size + name_bytes
        payload_at = runs_at + run_count * _RUN.size
        if payload_at > len(body):
            raise AudioError(f"{where}: damaged: {run_count} runs do not fit in {len(data)} bytes")
        runs = list(_RUN.iter_unpack(body[runs_at:payload_at]))
        _check_runs(where, runs, len(body) - payload_at)
        name = bytes(body[_HEADER.size : runs_at])
        _check_header(where, name, rate, samples, sum(count for count, _ in runs))
        return cls(name.decode(), rate, samples, tuple(_unpack(runs, body[payload_at:], where)))


def _check_frame_of_file(data: bytes, where: str) -> None:
    """Magic, version, least length, checksum."""
    if not data:
        raise AudioError(f"{where}: the file is empty (0 bytes)")
    if data[:4] != MAGIC:
        raise AudioError(f"{where}: not a .vlk file; make one with `voicelink encode`")
    if len(data) < _HEADER.size + _CRC.size:
        raise AudioError(f"{where}: truncated: {len(data)} bytes do not hold a header")
    if data[4] != VERSION:
        raise AudioError(f"{where}: .vlk version {data[4]}; this program reads version {VERSION}")
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise AudioError(f"{where}: truncated or damaged: the checksum does not match; get the file again")


def _check_runs(where: str, runs: list[tuple[int, int]], payload_bytes: int) -> None:
    if any(count == 0 or not 1 <= bits <= MAX_BITS_PER_FRAME for count, bits in runs):
        raise AudioError(f"{where}: damaged: a run of no frames, or bits outside 1..{MAX_BITS_PER_FRAME}")
    if any(one[1] == other[1] for one, other in itertools.pairwise(runs)):
        raise AudioError(f"{where}: damaged: two runs of equal bits side by side")
    total = (sum(count * bits for count, bits in runs) + 7) // 8
    if total != payload_bytes:
        raise AudioError(f"{where}: damaged: {total} bytes of codes announced, {payload_bytes} there")


def _check_header(where: str, name: bytes, rate: int, samples: int, frames: int) -> None:
    if not 1 <= len(name) <= MAX_MODEL_ID or any(not 0x21 <= c <= 0x7E for c in name):
        raise AudioError(f"{where}: the model id is not 1..{MAX_MODEL_ID} printable ASCII characters")
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(f"{where}: sample rate {rate} Hz is outside {MIN_RATE_HZ}..{MAX_RATE_HZ} Hz")
    needed = -(-samples * SAMPLE_RATE_HZ // (rate * FRAME_SAMPLES))
    if samples < 0 or not needed <= frames + 1 <= needed + 1 + MAX_EXTRA_FRAMES:
        raise AudioError(f"{where}: {frames} frames do not fit {samples} samples at {rate} Hz")
    if samples > MAX_SECONDS * rate:
        raise AudioError(f"{where}: {samples / rate / 3600:.1f} hours; {MAX_SECONDS // 3600} are the most; split it")


def _pack(frames: Iterable[Frame]) -> bytes:
    """Codes of all frames without a gap between them."""
    parts = []
    for bits, group in itertools.groupby(frames, key=lambda frame: frame.bits):
        whole = np.frombuffer(b"".join(frame.payload for frame in group), np.uint8)
        parts.append(np.unpackbits(whole.reshape(-1, (bits + 7) // 8), axis=1)[:, :bits].reshape(-1))
    return np.packbits(np.concatenate(parts)).tobytes() if parts else b""


def _unpack(runs: list[tuple[int, int]], payload: memoryview, where: str) -> list[Frame]:
    stream: NDArray[np.uint8] = np.unpackbits(np.frombuffer(payload, np.uint8))
    frames: list[Frame] = []
    at = 0
    for count, bits in runs:
        codes = stream[at : at + count * bits].reshape(count, bits)
        at += count * bits
        rows = np.packbits(codes, axis=1)
        frames += [Frame(len(frames) + i, bits, row.tobytes()) for i, row in enumerate(rows)]
    if stream[at:].any():
        raise AudioError(f"{where}: damaged: the unused bits of the last byte are not zero")
    return frames
