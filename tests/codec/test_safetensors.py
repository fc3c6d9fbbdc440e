from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy as reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicelink.codec.safetensors import (
    TensorEntry,
    read_metadata,
    read_tensors,
    tensor_offsets,
    write_tensors,
)
from voicelink.errors import WeightsError

SEED = 7
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def example_tensors() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(SEED)
    tensors = {f"t.{code}": rng.integers(0, 2, (3, 5)).astype(code) for code in DTYPES}
    tensors["matrix"] = rng.standard_normal((7, 2, 3)).astype(np.float32)
    tensors["scalar"] = np.array(2.5, dtype=np.float16)
    tensors["empty"] = np.zeros((4, 0), dtype=np.int64)
    tensors["transposed"] = rng.standard_normal((4, 6)).T
    return tensors


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert np.array_equal(found[name], array), name


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_written_file_is_read_back_by_both_readers(tmp_path: Path) -> None:
    tensors, path = example_tensors(), tmp_path / "w.safetensors"
    write_tensors(path, tensors, {"note": "grüße", "a": "b"})
    assert_same(read_tensors(path), tensors)
    assert_same(reference.load_file(path), tensors)
    assert read_metadata(path) == {"note": "grüße", "a": "b"}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_file_of_the_reference_writer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {name: np.ascontiguousarray(array) for name, array in example_tensors().items()}
    reference.save_file(tensors, path, metadata={"format": "np"})
    assert_same(read_tensors(path), tensors)
    assert read_metadata(path) == {"format": "np"}


def test_empty_file_of_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, {})
    assert read_tensors(path) == {}
    assert read_metadata(path) == {}
    assert reference.load_file(path) == {}


def test_same_tensors_give_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    tensors = example_tensors()
    write_tensors(tmp_path / "a", tensors, {"x": "1", "y": "2"})
    write_tensors(tmp_path / "b", dict(reversed(tensors.items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_own_writable_memory(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, example_tensors())
    first = read_tensors(path)
    first["matrix"][:] = 0.0
    assert_same(read_tensors(path), example_tensors())


def test_big_endian_input_is_stored_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, {"x": np.array([1.0, 2.0], dtype=">f4")})
    assert np.array_equal(read_tensors(path)["x"], np.array([1.0, 2.0], dtype=np.float32))
    assert path.read_bytes()[-8:] == struct.pack("<2f", 1.0, 2.0)


def test_offsets_point_at_the_data(tmp_path: Path) -> None:
    tensors, path = example_tensors(), tmp_path / "w.safetensors"
    write_tensors(path, tensors)
    data, offsets = path.read_bytes(), tensor_offsets(path)
    assert set(offsets) == set(tensors)
    assert min(place.offset for place in offsets.values()) % 64 == 0
    for name, place in offsets.items():
        assert data[place.offset : place.offset + place.length] == tensors[name].tobytes(), name
        assert place.offset % tensors[name].dtype.itemsize == 0, name
    assert offsets["matrix"] == TensorEntry("F32", (7, 2, 3), offsets["matrix"].offset, 7 * 2 * 3 * 4)


@pytest.mark.parametrize("array", [np.zeros(2, dtype=np.complex64), np.array(["a"]), np.array([None])])
def test_unsupported_dtype_is_refused(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(WeightsError, match=r"'odd' of .* cannot be stored"):
        write_tensors(tmp_path / "w", {"odd": array})
    assert list(tmp_path.iterdir()) == []


def test_reserved_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="rename"):
        write_tensors(tmp_path / "w", {"__metadata__": np.zeros(2)})


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for read in (read_tensors, tensor_offsets, read_metadata):
        with pytest.raises(WeightsError, match="cannot be read"):
            read(tmp_path / "none")
        with pytest.raises(WeightsError, match="cannot be read"):
            read(tmp_path)
    with pytest.raises(WeightsError, match="cannot be written"):
        write_tensors(tmp_path / "none" / "w", {})


HOSTILE = {
    "nothing": b"",
    "short prefix": b"\x01\x00",
    "huge header": struct.pack("<Q", 2**64 - 1) + b"{}",
    "header longer than file": struct.pack("<Q", 3) + b"{}",
    "zero header": struct.pack("<Q", 0),
    "not json": raw(b"{]"),
    "not utf-8": raw(b'{"\xff": 1}'),
    "a list": raw([]),
    "name of two lines": raw({"a\nb" * 1000: entry("F0")}),
    "deep": raw(b"[" * 200_000),
    "long number": raw(b'{"a": ' + b"9" * 10_000 + b"}"),
    "name twice": raw(
        b'{"a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}, "a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    ),
    "metadata not strings": raw({"__metadata__": {"a": 1}}),
    "metadata a list": raw({"__metadata__": ["a"]}),
    "entry a list": raw({"a": [1]}),
    "entry without dtype": raw({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "entry with more": raw({"a": {**entry(), "more": 1}}, bytes(8)),
    "unknown dtype": raw({"a": entry("BF16", [4])}, bytes(8)),
    "dtype a list": raw({"a": entry(["F32"])}, bytes(8)),
    "negative size": raw({"a": entry(shape=[-2])}, bytes(8)),
    "fractional size": raw({"a": entry(shape=[2.0])}, bytes(8)),
    "boolean size": raw({"a": entry("U8", [True], [0, 1])}, bytes(1)),
    "shape a number": raw({"a": entry(shape=2)}, bytes(8)),
    "too many dimensions": raw({"a": entry("U8", [1] * 100, [0, 1])}, bytes(1)),
    "overflowing empty": raw({"a": entry("U8", [0, 2**62, 2**62], [0, 0])}),
    "overflowing size": raw({"a": entry("F32", [2**62, 2**62], [0, 8])}, bytes(8)),
    "one offset": raw({"a": entry(offsets=[0])}, bytes(8)),
    "negative offset": raw({"a": entry(offsets=[-8, 0])}, bytes(8)),
    "backward offsets": raw({"a": entry(offsets=[8, 0])}, bytes(8)),
    "length mismatch": raw({"a": entry(offsets=[0, 4])}, bytes(8)),
    "offset far outside": raw({"a": entry(offsets=[2**63, 2**63 + 8])}, bytes(8)),
    "truncated data": raw({"a": entry()}, bytes(7)),
    "trailing data": raw({"a": entry()}, bytes(9)),
    "overlap": raw({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "gap": raw({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    for read in (read_tensors, tensor_offsets, read_metadata):
        with pytest.raises(WeightsError) as caught:
            read(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < len(str(path)) + 300


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_file_is_read_or_refused(tmp_path: Path, place: int, value: int, cut: int) -> None:
    path = tmp_path / "damaged.safetensors"
    write_tensors(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(4, np.int64)})
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data[: len(data) - cut % len(data)] if cut % 3 == 0 else data)
    try:
        tensors = read_tensors(path)
    except WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert sum(array.nbytes for array in tensors.values()) <= path.stat().st_size
