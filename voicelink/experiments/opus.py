"""Opus through libopus itself, so that its own loss concealment and in-band redundancy are heard.

The library is the system's, or the one that the PyAV package brings. PyAV's own decoder takes no word of a lost
packet, hence this thin binding of the five functions that a peer needs (opus.h of libopus 1.x).
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import ConfigError

RATE_HZ: Final = 24_000
MIN_BITRATE_BPS: Final = 6_000
#: Lengths that one packet can have, ms.
PACKET_MS: Final = (20, 40, 60, 80, 100, 120)

_APPLICATION_VOIP: Final = 2048
_SET_BITRATE, _SET_VBR, _SET_COMPLEXITY, _SET_FEC, _SET_LOSS, _SET_SIGNAL = 4002, 4006, 4010, 4012, 4014, 4024
_GET_LOOKAHEAD, _SIGNAL_VOICE = 4027, 3001
_MAX_PACKET: Final = 1500


def code(
    speech: NDArray[np.float32], packet_ms: int, packet_bytes: int, loss_percent: int, *, vbr: bool = False
) -> tuple[list[bytes], int]:
    """Packets for float32 [samples] at 24 kHz, and the decoder's delay in samples.

    All of `packet_bytes`; with `vbr` about that size on average. `loss_percent` is what the encoder is told to expect;
    above 0 it spends bits on in-band redundancy (LBRR), where it finds that it has enough (it narrows the band for that
    where it is told of more than 5 %).
    """
    lib, error = library(), ctypes.c_int()
    encoder = ctypes.c_void_p(lib.opus_encoder_create(RATE_HZ, 1, _APPLICATION_VOIP, ctypes.byref(error)))
    _check(error.value, "opus_encoder_create")
    try:
        for option, value in (
            (_SET_BITRATE, packet_bytes * 8 * 1000 // packet_ms), (_SET_VBR, int(vbr)), (_SET_COMPLEXITY, 10),
            (_SET_SIGNAL, _SIGNAL_VOICE), (_SET_FEC, int(loss_percent > 0)), (_SET_LOSS, loss_percent),
        ):  # fmt: skip
            _check(lib.opus_encoder_ctl(encoder, option, ctypes.c_int(value)), f"opus_encoder_ctl {option}")
        lookahead = ctypes.c_int()
        _check(lib.opus_encoder_ctl(encoder, _GET_LOOKAHEAD, ctypes.byref(lookahead)), "lookahead")
        step = RATE_HZ * packet_ms // 1000
        count = -(-(len(speech) + lookahead.value) // step)
        padded = np.zeros(count * step, np.float32)
        padded[: len(speech)] = speech
        most = _MAX_PACKET if vbr else packet_bytes
        return [_encode(lib, encoder, block, most) for block in padded.reshape(count, step)], lookahead.value
    finally:
        lib.opus_encoder_destroy(encoder)


def decode(packets: Sequence[bytes | None], packet_ms: int) -> NDArray[np.float32]:
    """Speech at 24 kHz from packets, None for one that is not there.

    A lost packet is taken from the next one's redundancy where that is there, else concealed by the decoder.
    """
    lib, error, step = library(), ctypes.c_int(), RATE_HZ * packet_ms // 1000
    decoder = ctypes.c_void_p(lib.opus_decoder_create(RATE_HZ, 1, ctypes.byref(error)))
    _check(error.value, "opus_decoder_create")
    try:
        blocks = []
        for packet, following in zip(packets, [*packets[1:], None], strict=True):
            use_redundancy = packet is None and following is not None
            blocks.append(_decode(lib, decoder, following if use_redundancy else packet, step, use_redundancy))
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    finally:
        lib.opus_decoder_destroy(decoder)


def has_redundancy(packet: bytes) -> bool:
    """Whether a packet holds the one before it once more (LBRR)."""
    return int(library().opus_packet_has_lbrr(packet, len(packet))) == 1


def version() -> str:
    """As libopus tells it, such as "libopus 1.5.2"."""
    return str(library().opus_get_version_string().decode())


@cache
def library() -> Any:
    """The loaded libopus. Raises ConfigError where there is none."""
    for name in _candidates():
        try:
            lib: Any = ctypes.CDLL(name)
        except OSError:
            continue
        lib.opus_get_version_string.restype = ctypes.c_char_p
        lib.opus_encoder_create.restype = lib.opus_decoder_create.restype = ctypes.c_void_p
        return lib
    raise ConfigError("codec opus needs libopus: pip install 'voicelink[peers]', or the system's libopus0")


def _candidates() -> list[str]:
    """PyAV's library first: it is the same on every system."""
    spec = find_spec("av")
    folders = [Path(place).parent / "av.libs" for place in (spec.submodule_search_locations or [])] if spec else []
    bundled = [str(path) for folder in folders for path in sorted(folder.glob("libopus-*.so*"))]
    system = ctypes.util.find_library("opus")
    return [*bundled, *([system] if system else [])]


def _encode(lib: Any, encoder: Any, block: NDArray[np.float32], size: int) -> bytes:
    out = ctypes.create_string_buffer(_MAX_PACKET)
    samples = np.ascontiguousarray(block).ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    made = lib.opus_encode_float(encoder, samples, len(block), out, min(size, _MAX_PACKET))
    _check(min(made, 0), "opus_encode_float")
    return out.raw[:made]


def _decode(lib: Any, decoder: Any, packet: bytes | None, step: int, redundancy: bool) -> NDArray[np.float32]:
    out = np.zeros(step, np.float32)
    samples = out.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    size = len(packet) if packet else 0
    made = lib.opus_decode_float(decoder, packet or None, size, samples, step, int(redundancy))
    _check(min(made, 0), "opus_decode_float")
    return out


def _check(code: int, what: str) -> None:
    if code < 0:
        raise RuntimeError(f"{what} failed with code {code}")
