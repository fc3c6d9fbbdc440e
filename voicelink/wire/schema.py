"""Frozen dataclasses to msgpack maps and back, with limits on every size and type.

A message class marks each field with what it takes (`text`, `integer`, ...). Whatever does not fit raises
ControlError; keys that a message does not know are passed over, so that later versions may add some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields, is_dataclass
from ipaddress import ip_address
from typing import Any, Final, TypeAlias, TypeVar

import msgpack  # type: ignore[import-untyped, unused-ignore]

from voicelink.errors import ControlError
from voicelink.settings import Address

#: Takes a decoded msgpack value and returns ours, or raises ControlError.
Taker: TypeAlias = Callable[[Any], Any]

MAX_TEXT_BYTES: Final = 256
MAX_ITEMS: Final = 32
#: A map of fields, in it a record, in it a list: nothing of ours nests deeper.
MAX_DEPTH: Final = 4

T = TypeVar("T")


def part(take: Taker) -> Any:
    """A dataclass field read by `take`."""
    return field(metadata={"take": take})


def optional(take: Taker, default: Any) -> Any:
    """A dataclass field as `part`; where it is `default` it is left out of the map, and it may be missing there."""
    return field(default=default, metadata={"take": take})


def text(limit: int = MAX_TEXT_BYTES) -> Taker:
    """Text of at most `limit` bytes in UTF-8, of printable characters only (it may reach a terminal)."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or len(value.encode()) > limit or not value.isprintable():
            raise ControlError(f"not printable text of at most {limit} bytes")
        return value

    return take


def blob(limit: int) -> Taker:
    """At most `limit` bytes."""

    def take(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) > limit:
            raise ControlError(f"not a byte string of at most {limit} bytes")
        return value

    return take


def integer(low: int, high: int) -> Taker:
    """A whole number in low..high."""

    def take(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ControlError(f"not a whole number in {low}..{high}")
        return value

    return take


def flag(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ControlError("not true or false")
    return value


def many(item: Taker, limit: int) -> Taker:
    """A tuple of at most `limit` items."""

    def take(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple) or len(value) > limit:
            raise ControlError(f"not a list of at most {limit}")
        return tuple(item(one) for one in value)

    return take


def address(value: Any) -> Address:
    """A pair of host and port of one machine. The host is an IP address: a name would be looked up to send to it."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise ControlError("not an address of two parts")
    host, port = _HOST(value[0]), _PORT(value[1])
    try:
        ip = ip_address(host)
    except ValueError:
        raise ControlError("host is not an IP address") from None
    if ip.is_multicast or ip.is_unspecified or "%" in host:
        raise ControlError("host is not the IP address of one machine")
    return host, port


def record(cls: type[T]) -> Taker:
    """A nested dataclass of the same kind."""
    return lambda value: from_map(cls, value)


def from_map(cls: type[T], value: Any) -> T:
    """An instance of `cls` from a decoded map. Raises ControlError."""
    if not isinstance(value, dict):
        raise ControlError(f"{cls.__name__.lower()} is not a map")
    taken: dict[str, Any] = {}
    for known in fields(cls):  # type: ignore[arg-type]
        if known.name not in value:
            if known.default is not MISSING:
                continue
            raise ControlError(f"{cls.__name__.lower()} without {known.name}")
        taken[known.name] = _take(cls, known.name, known.metadata["take"], value[known.name])
    try:
        return cls(**taken)
    except ValueError as error:
        raise ControlError(f"{cls.__name__.lower()}: {error}") from None


def clip(value: str, limit: int = MAX_TEXT_BYTES) -> str:
    """`value` cut and cleaned so that `text(limit)` takes it."""
    printable = "".join(c if c.isprintable() else " " for c in value)
    return printable.encode(errors="replace")[:limit].decode(errors="ignore")


def to_map(value: Any) -> dict[str, Any]:
    """The map that `from_map` reads."""
    every = ((f, getattr(value, f.name)) for f in fields(value))
    plain = ((f.name, item) for f, item in every if f.default is MISSING or item != f.default)
    return {name: to_map(item) if is_dataclass(item) else item for name, item in plain}


def decode(body: bytes) -> Any:
    """The msgpack value in `body`, its sizes limited. Raises ControlError for anything else."""
    try:
        value = msgpack.unpackb(
            body,
            use_list=False,
            strict_map_key=True,
            max_str_len=MAX_TEXT_BYTES,
            max_bin_len=len(body),
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ControlError(f"control message is not msgpack within limits: {error}") from None
    _check_depth(value, MAX_DEPTH)
    return value


def encode(value: dict[str, Any]) -> bytes:
    """`value` as msgpack."""
    return bytes(msgpack.packb(value))


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, (dict, tuple)):
        return
    if not left:
        raise ControlError(f"control message nests deeper than {MAX_DEPTH}")
    for item in value.values() if isinstance(value, dict) else value:
        _check_depth(item, left - 1)


def _take(cls: type, name: str, take: Taker, value: Any) -> Any:
    try:
        return take(value)
    except ControlError as error:
        raise ControlError(f"{cls.__name__.lower()}.{name}: {error}") from None


_HOST = text(64)
_PORT = integer(1, 65535)
