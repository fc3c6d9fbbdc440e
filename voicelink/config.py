"""Settings from a TOML file, VOICELINK_* environment variables and the command line, in rising order.

The one place that checks settings. A key is TABLE.NAME, such as session.bits_max: in a file `bits_max` in
table `[session]`, in the environment VOICELINK_SESSION_BITS_MAX. Every error names where the value came from,
the key, the value and what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import toml

from voicelink.bounded import read_bounded
from voicelink.errors import ConfigError
from voicelink.settings import Settings, parse_address

PREFIX: Final = "VOICELINK_"
#: Where a value came from when nobody set it.
DEFAULT_SOURCE: Final = "default"
COMMAND_LINE: Final = "command line"
MAX_FILE_BYTES: Final = 1 << 20
#: What is shown in place of a secret.
HIDDEN: Final = "(hidden)"

_ADDRESSES: Final = {"server.listen", "server.metrics", "server.advertise"}
_NAME_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Effective:
    """Checked settings, and where each came from (by key)."""

    settings: Settings
    sources: dict[str, str] = field(default_factory=dict)

    def source(self, key: str) -> str:
        """Where the value of `key` came from."""
        return self.sources.get(key, DEFAULT_SOURCE)


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Effective:
    """Settings from the file at `path`, then `environ` (the process's own by default), then `options` by key.

    Raises ConfigError for a file that cannot be read, unknown keys, wrong types and values out of range.
    """
    values: dict[str, tuple[Any, str]] = {}
    if path is not None:
        values |= {key: (value, str(path)) for key, value in _from_file(path)}
    for variable, (key, text) in _from_environment(os.environ if environ is None else environ):
        values[key] = (_parse_text(_field(key, variable), text, variable), variable)
    values |= {key: (value, COMMAND_LINE) for key, value in (options or {}).items()}
    settings = Settings()
    for key, (value, source) in values.items():
        table, name = _split(key)
        checked = check_value(_field(key, source), key, value, source)
        settings = replace(settings, **{table: replace(getattr(settings, table), **{name: checked})})
    effective = Effective(settings, {key: source for key, (_, source) in values.items()})
    _check_together(effective)
    return effective


def describe(effective: Effective) -> str:
    """The effective settings as TOML, each with its source as a comment."""
    lines = []
    for table, entries in _tables():
        lines.append(f"[{table}]")
        for entry in entries:
            value = _shown(entry, getattr(getattr(effective.settings, table), entry.name))
            text = f"{entry.name} = {_toml(value)}"
            lines.append(f"{text:44}  # {effective.source(f'{table}.{entry.name}')}")
        lines.append("")
    return "\n".join(lines)


def sample() -> str:
    """A commented sample file: every key with its meaning, what is allowed, and its default commented out."""
    lines = ["# voicelink settings. Every key is optional; the values shown are the defaults.", ""]
    for table, entries in _tables():
        lines.append(f"[{table}]")
        for entry in entries:
            allowed = _allowed(entry)
            lines.append(f"# {entry.metadata['text']}" + (f" ({allowed})" if allowed else ""))
            lines.append(f"# environment: {PREFIX}{table.upper()}_{entry.name.upper()}")
            lines.append(f"#{entry.name} = {_toml(entry.default)}")
        lines.append("")
    return "\n".join(lines)


def as_dict(effective: Effective) -> dict[str, dict[str, Any]]:
    """By key: value and source, for JSON."""
    return {
        f"{table}.{entry.name}": {
            "value": _shown(entry, getattr(getattr(effective.settings, table), entry.name)),
            "source": effective.source(f"{table}.{entry.name}"),
        }
        for table, entries in _tables()
        for entry in entries
    }


# ---- reading -------------------------------------------------------------------------------------
def _from_file(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = read_bounded(path, MAX_FILE_BYTES)
        if text is None:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, hence no settings file")
        data = toml.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"cannot read settings from {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text, hence no TOML file") from None
    except (toml.TomlDecodeError, IndexError, TypeError, ValueError) as error:  # the parser lets some out
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for table, content in data.items():
        if not isinstance(content, dict):
            known = ", ".join(f"[{name}]" for name, _ in _tables())
            raise ConfigError(f"{path}: {table} stands outside a table; tables are {known}")
        for name, value in content.items():
            yield f"{table}.{name}", value


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    tables = [table for table, _ in _tables()]
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        table, _, name = variable[len(PREFIX) :].lower().partition("_")
        if table in tables:
            yield variable, (f"{table}.{name}", environ[variable])


def _parse_text(entry: Field[Any], text: str, variable: str) -> Any:
    """An environment variable's text as the type of its setting."""
    kind = entry.type
    try:
        if kind == "bool":
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if kind in ("int", "float"):
            return int(text) if kind == "int" else float(text)
    except (ValueError, KeyError):
        raise ConfigError(f"{variable}: {text!r} is not {_KINDS[str(kind)]}") from None  # no secret is a number
    if kind == "tuple[str, ...]":
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


# ---- checking ------------------------------------------------------------------------------------
def check_value(entry: Field[Any], key: str, value: Any, source: str) -> Any:
    """`value` as the type of the setting that `entry` describes (see `settings.setting`).

    Raises ConfigError that names `source`, `key`, the value and what is allowed.
    """
    kind = str(entry.type)
    where = f"{source}: {key} = {_shown(entry, value)!r}"
    if kind == "tuple[str, ...]" and isinstance(value, (list, tuple)):
        if all(isinstance(item, str) and item for item in value):
            return tuple(value)
    elif kind == "float" and type(value) in (int, float):
        return _in_range(entry, float(value), where)
    elif type(value).__name__ == kind:
        if kind == "int":
            return _in_range(entry, value, where)
        return _check_text(entry, key, value, where) if kind == "str" else value
    raise ConfigError(f"{where} is not {_KINDS[kind]}")


def _in_range(entry: Field[Any], value: float, where: str) -> float:
    low, high = entry.metadata["low"], entry.metadata["high"]
    if not (low is None or value >= low) or not (high is None or value <= high):
        raise ConfigError(f"{where} is out of range; allowed is {_allowed(entry)}")
    return value


def _check_text(entry: Field[Any], key: str, value: str, where: str) -> str:
    choices = entry.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(f"{where} is unknown; allowed is {_allowed(entry)}")
    if not value.isprintable():
        raise ConfigError(f"{where} holds characters that cannot be printed")
    if key == "session.name" and len(value.encode()) > _NAME_BYTES:
        raise ConfigError(f"{where} is too long; a name has at most {_NAME_BYTES} bytes")
    if key in _ADDRESSES and value:
        try:
            parse_address(value)
        except ConfigError as error:
            raise ConfigError(f"{where.split(' = ', maxsplit=1)[0]}: {error}") from None
    return value


def _check_together(effective: Effective) -> None:
    """Settings that must fit each other."""
    s = effective.settings.session

    def fail(key: str, text: str) -> None:
        raise ConfigError(f"{effective.source(key)}: {key} = {getattr(s, key.partition('.')[2])} {text}")

    if s.bits_min > s.bits_max:
        fail("session.bits_min", f"is above session.bits_max = {s.bits_max}")
    if s.playout_delay_min_ms > s.playout_delay_max_ms:
        fail("session.playout_delay_min_ms", f"is above session.playout_delay_max_ms = {s.playout_delay_max_ms}")
    if s.constant_rate and s.dtx:
        fail("session.constant_rate", "hides when somebody talks, and session.dtx shows it; leave one of the two out")
    if (
        s.constant_rate
        and not s.fixed
        and effective.source("session.fixed") == effective.source("session.constant_rate")
    ):
        fail("session.constant_rate", "and a rate that adapts exclude each other; leave one of the two out")
    low, high = s.frames_per_packet_min, s.frames_per_packet_max
    if low > high:
        fail("session.frames_per_packet_min", f"is above session.frames_per_packet_max = {high}")
    if not low <= s.frames_per_packet <= high:
        fail("session.frames_per_packet", f"is outside {low}..{high}, the least and most allowed")


# ---- what there is -------------------------------------------------------------------------------
def _tables() -> list[tuple[str, tuple[Field[Any], ...]]]:
    defaults = Settings()
    return [(f.name, fields(getattr(defaults, f.name))) for f in fields(Settings)]


def _split(key: str) -> tuple[str, str]:
    table, _, name = key.partition(".")
    return table, name


def _field(key: str, source: str) -> Field[Any]:
    """The setting `key` names, or ConfigError."""
    table, name = _split(key)
    tables = dict(_tables())
    if table not in tables:
        raise ConfigError(f"{source}: table [{table}] is unknown; there are {', '.join(tables)}")
    for entry in tables[table]:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in tables[table])
    raise ConfigError(f"{source}: {key} is unknown; [{table}] has {names}")


def _allowed(entry: Field[Any]) -> str:
    choices, low, high = (entry.metadata[k] for k in ("choices", "low", "high"))
    if choices:
        return " or ".join(choices)
    return "" if low is None else f"{low}..{high}"


def _shown(entry: Field[Any], value: Any) -> Any:
    """`value`, or that there is one where it is a secret."""
    return HIDDEN if entry.metadata["secret"] and value else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple[str, ...]": "a list of texts",
}
