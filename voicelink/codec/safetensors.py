"""Reader and writer of safetensors files, in numpy.

Format: 8 bytes, little-endian length n of the header; n bytes of JSON that maps each tensor's name to its
dtype, shape and byte range, and `__metadata__` to a map of strings; then the tensors' little-endian data,
back to back (https://github.com/huggingface/safetensors, section "Format"). Files come from anywhere: every
number in the header is checked against the file before it is used.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import WeightsError

#: The reference implementation's own limit.
MAX_HEADER_BYTES: Final = 100_000_000
MAX_DIMENSIONS: Final = 16
MAX_ELEMENTS: Final = 1 << 40
#: The data start at a multiple of this, so that whole cache lines can be mapped from the file.
ALIGNMENT_BYTES: Final = 64

_METADATA = "__metadata__"
_DTYPES: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES: Final = {np.dtype(code): name for name, code in _DTYPES.items()}


class TensorEntry(NamedTuple):
    """Where a tensor lies in its file: format's dtype name, shape, absolute byte offset and byte length."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors, as arrays of their own memory. Raises WeightsError for a missing or malformed file."""
    try:
        with path.open("rb") as file:
            entries, _ = _read_header(file, path)
            return {name: _read_data(file, entry, _label(path, name)) for name, entry in entries.items()}
    except OSError as error:
        raise _unreadable(path, error) from error


def tensor_offsets(path: Path) -> dict[str, TensorEntry]:
    """Name -> place of every tensor, in file order. Raises WeightsError as `read_tensors`."""
    return _headers(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """The file's own strings. Raises WeightsError as `read_tensors`."""
    return _headers(path)[1]


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file; the same tensors give the same bytes, and an older file stays until the new one is whole.

    Wide dtypes come first, then names in order, so that every tensor is aligned to its item. Raises
    WeightsError for a dtype that the format lacks and where the file cannot be written.
    """
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    arrays = []
    begin = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = np.asarray(tensors[name])
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None or name == _METADATA:
            raise WeightsError(f"{path}: tensor {name!r} of {array.dtype} cannot be stored; convert or rename it")
        arrays.append(array.astype(_DTYPES[dtype], order="C", copy=False))
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [begin, begin + array.nbytes],
        }
        begin += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT_BYTES)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.writelines(array.tobytes() for array in arrays)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written ({error.strerror})") from error


def _headers(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    try:
        with path.open("rb") as file:
            return _read_header(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_header(file: BinaryIO, path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Entries in the order of their offsets, and the metadata."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise _malformed(path, "the header's length does not fit the file")
    try:
        table = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, "the header is not JSON with unique names") from error
    if not isinstance(table, dict):
        raise _malformed(path, "the header is not a map")
    metadata = table.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _malformed(path, "the metadata are not a map of strings")
    entries = [(name, _parse_entry(entry, 8 + length, _label(path, name))) for name, entry in table.items()]
    entries.sort(key=lambda item: (item[1].offset, item[1].length))
    _check_layout([entry for _, entry in entries], 8 + length, size, path)
    return dict(entries), metadata


def _parse_entry(entry: Any, start: int, where: str) -> TensorEntry:
    """Check one tensor's entry by itself; `start` is where the data begin."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _malformed(where, "the entry lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise WeightsError(
            f"{where}: dtype {str(dtype)[:20]!r} is not supported; store it as one of {', '.join(_DTYPES)}"
        )
    if not _naturals(shape) or len(shape) > MAX_DIMENSIONS or math.prod(max(d, 1) for d in shape) > MAX_ELEMENTS:
        raise _malformed(where, "the shape is not a short list of sizes")
    if not _naturals(offsets) or len(offsets) != 2:
        raise _malformed(where, "data_offsets are not two positions")
    length = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != length:
        raise _malformed(where, f"dtype and shape need {length} bytes, data_offsets span another number")
    return TensorEntry(dtype, tuple(shape), start + offsets[0], length)


def _check_layout(entries: list[TensorEntry], start: int, size: int, path: Path) -> None:
    """The tensors, in the order of their offsets, must fill the file: no gap, no overlap, nothing after."""
    for entry in entries:
        if entry.offset != start:
            raise _malformed(path, "tensors overlap or leave a gap")
        start += entry.length
    if start != size:
        raise _malformed(path, f"the header describes {start} bytes, the file has {size}")


def _read_data(file: BinaryIO, entry: TensorEntry, where: str) -> NDArray[Any]:
    file.seek(entry.offset)
    data = bytearray(file.read(entry.length))
    if len(data) != entry.length:
        raise _malformed(where, "the file ends within the data")
    array: NDArray[Any] = np.frombuffer(data, dtype=_DTYPES[entry.dtype]).reshape(entry.shape)
    return array


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _label(path: Path, name: str) -> str:
    """For messages: one line, whatever the file calls its tensors."""
    return f"{path}: tensor {name[:60]!r}"


def _malformed(where: object, what: str) -> WeightsError:
    return WeightsError(f"{where}: not a whole safetensors file: {what}; fetch or export it again")


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"{path}: cannot be read ({error.strerror}); check the path")
