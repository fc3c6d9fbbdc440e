"""A sweep's folder: what was asked, the rows as they finish, and the tables made of them.

    plan.json              the sweep, version and model; a resumed sweep must be the same
    rows.jsonl             one line for each finished piece of work, synced to disk; a half line at its end is dropped
    rows.csv rows.parquet  the table in the grid's order, written anew from the journal and renamed into place
    audio/ traces/         what was kept to listen to and to draw

The tables hold nothing of the run itself (no times, no places), so they do not depend on how often it was stopped.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from voicelink.errors import ConfigError

Row = dict[str, Any]
KEY: Final = ("codec", "clip", "cell", "seed")
#: What a report needs of plan.json.
_NEEDED: Final = ("version", "title", "about", "seeds", "cells", "points", "clips", "codecs", "view", "model", "engine")


class Store:
    """An open folder, locked against a second sweep in it until `close`."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
        """Open `folder` for `plan`. Raises ConfigError where that is not possible or would mix two sweeps."""
        self.folder = folder
        self.done: dict[int, list[Row]] = {}
        with ExitStack() as opened:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _lock(opened.enter_context((folder / ".lock").open("w")), folder)
                self._begin(json.loads(json.dumps(plan)), resume=resume)
                self._journal = opened.enter_context((folder / "rows.jsonl").open("ab"))
            except OSError as error:
                reason = error.strerror or error
                raise ConfigError(f"{folder}: cannot be written ({reason}); give another --out") from None
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give the folder free."""
        self._opened.close()

    def add(self, unit: int, rows: list[Row], files: Mapping[str, bytes]) -> None:
        """Keep a finished piece of work: first its files, then its line, which says that all is there."""
        for name, data in files.items():
            path = self.folder / name
            with self._writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f".{path.name}.part")
                temporary.write_bytes(data)
                temporary.replace(path)
        with self._writing(self.folder / "rows.jsonl"):
            self._journal.write(json.dumps({"unit": unit, "rows": rows}).encode() + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self.done[unit] = rows

    def rows(self) -> list[Row]:
        """All rows so far, in the order of their pieces of work."""
        return [row for unit in sorted(self.done) for row in self.done[unit]]

    def write_tables(self) -> None:
        """Write both tables anew, each whole or not at all. Raises ConfigError where that is not possible."""
        rows = self.rows()
        columns = columns_of(rows)
        for name, data in (("rows.csv", csv_bytes(rows, columns)), ("rows.parquet", parquet_bytes(rows, columns))):
            with self._writing(self.folder / name):
                temporary = self.folder / f".{name}.part"
                temporary.write_bytes(data)
                temporary.replace(self.folder / name)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Errors of the file system as one line; what the journal holds is not lost by them."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{path}: cannot be written ({reason}); mend that, and --resume goes on") from None

    def _begin(self, plan: dict[str, Any], *, resume: bool) -> None:
        path, journal = self.folder / "plan.json", self.folder / "rows.jsonl"
        if path.exists() and journal.is_file() and journal.stat().st_size:
            if not resume:
                raise ConfigError(f"{self.folder}: holds a sweep; --resume goes on with it, or give another --out")
            _require_same(_plan(path), plan, self.folder)
            self._read(journal)
        else:
            others = [entry.name for entry in self.folder.iterdir() if entry.name != ".lock"]
            if others and not path.exists():  # a sweep that has done nothing yet may begin anew
                raise ConfigError(f"{self.folder}: is not empty and no sweep ({others[0]}); give another --out")
            temporary = self.folder / ".plan.json.part"
            temporary.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)

    def _read(self, journal: Path) -> None:
        """Take in whole lines; cut off what a killed run left half written."""
        if not journal.exists():
            return
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(journal, whole)
        self.done.update(_entries(journal, data[:whole]))


def read_rows(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Plan and rows of a sweep's folder, finished or not. Raises ConfigError where there is none."""
    plan = _plan(folder / "plan.json")
    missing = [key for key in _NEEDED if key not in plan]
    if missing:
        raise ConfigError(f"{folder / 'plan.json'}: damaged, or of no sweep ({missing[0]} is missing)")
    journal = folder / "rows.jsonl"
    try:
        data = journal.read_bytes() if journal.exists() else b""
    except OSError as error:
        raise ConfigError(f"{journal}: cannot be read ({error.strerror or error})") from None
    found = _entries(journal, data[: data.rfind(b"\n") + 1])
    return plan, [row for unit in sorted(found) for row in found[unit]]


def columns_of(rows: Iterable[Row]) -> list[str]:
    """All columns, in the order in which rows first have them."""
    return list(dict.fromkeys(key for row in rows for key in row))


def csv_bytes(rows: Iterable[Row], columns: list[str]) -> bytes:
    """A CSV table (RFC 4180, UTF-8); empty where there is no value; numbers as they round-trip."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue().encode()


def parquet_bytes(rows: list[Row], columns: list[str]) -> bytes:
    """A Parquet table: whole numbers int64, other numbers float64, text, truth; null where there is no value."""
    import pyarrow  # noqa: PLC0415 (heavy, and only sweeps need it)
    from pyarrow import parquet  # noqa: PLC0415

    made = {}
    for column in columns:
        values = [_value(row.get(column)) for row in rows]
        kind = _arrow_type(pyarrow, column, values)
        if kind == pyarrow.string():  # also of columns that hold numbers in some rows and text in others
            values = [value if value is None or isinstance(value, str) else _cell(value) for value in values]
        made[column] = pyarrow.array(values, type=kind)
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(made), sink, compression="zstd")
    return bytes(sink.getvalue())


# ---- helpers -------------------------------------------------------------------------------------
def _lock(file: io.TextIOWrapper, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{folder}: another sweep is at work there; wait for it or give another --out") from None


def _entries(journal: Path, data: bytes) -> dict[int, list[Row]]:
    """Rows of each finished piece of work, from whole lines of a journal. Raises ConfigError where one is damaged."""
    found = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            entry = json.loads(line)
            found[int(entry["unit"])] = [dict(row) for row in entry["rows"]]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{journal}: line {number} is damaged; cut the file off before it, and --resume does the rest"
            ) from None
    return found


def _plan(path: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.parent}: no sweep there ({error.strerror or error} {path.name})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error})") from None
    return plan


def _require_same(there: dict[str, Any], asked: dict[str, Any], folder: Path) -> None:
    different = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
    if different:
        key = different[0]
        detail = f" ({there.get(key)} there, {asked.get(key)} now)" if isinstance(asked.get(key), str) else ""
        raise ConfigError(f"{folder}: holds another sweep: {key} differs{detail}; give another --out")


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(value: Any) -> str:
    value = _value(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _arrow_type(pyarrow: Any, column: str, values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pyarrow.string() if column == "error" else pyarrow.float64()
    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds == {int}:
        return pyarrow.int64()
    return pyarrow.float64() if kinds <= {int, float} else pyarrow.string()
