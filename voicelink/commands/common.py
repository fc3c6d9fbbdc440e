"""What all subcommands share: groups of options, logging, settings, and the way results are printed."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from voicelink.settings import Settings
from voicelink.units import MAX_BITS_PER_FRAME, bitrate_bps

if TYPE_CHECKING:
    from voicelink.config import Effective

MIN_BITRATE_BPS: Final = bitrate_bps(1)
MAX_BITRATE_BPS: Final = bitrate_bps(MAX_BITS_PER_FRAME)
Bitrate = Annotated[
    int,
    typer.Option(metavar="BPS", min=MIN_BITRATE_BPS, max=MAX_BITRATE_BPS, help="Codec bitrate, bit/s, in steps of 86."),
]

# What a call, a simulated one and the demo know alike of how to send.
Redundancy = Annotated[int | None, typer.Option(help="Frames that a packet repeats, 0..8 (default 0).")]
Fixed = Annotated[
    bool | None,
    typer.Option("--fixed/--adaptive", help="Bits, bundling and redundancy stay as set (default: they adapt)."),
]
Dtx = Annotated[
    bool | None, typer.Option("--dtx/--no-dtx", help="Send next to nothing in pauses of speech (default: no).")
]
ConstantRate = Annotated[
    bool | None,
    typer.Option(
        "--constant-rate/--no-constant-rate",
        help="Datagrams of one size at one interval, whatever is said or muted (default: no).",
    ),
]
WireKbps = Annotated[
    float | None, typer.Option(metavar="KBPS", help="Most to send each way, kbit/s, IP and UDP headers counted.")
]


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every subcommand, and what is done with them."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")] = False
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings file; `voicelink config` shows what it may hold."),
    ] = None
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show logs, and tracebacks of failures.")] = False
    log_json: Annotated[bool, typer.Option("--log-json", help="Write logs as JSON lines.")] = False

    def effective(self, options: dict[str, Any] | None = None) -> Effective:
        """Settings and their sources: defaults, the file, the environment, then `options` that are not None.

        `options` are keyed "table.name". Raises ConfigError.
        """
        from voicelink.config import load  # noqa: PLC0415 (not needed for --help)

        given = {key: value for key, value in (options or {}).items() if value is not None}
        return load(self.config, os.environ, given)

    def settings(self, options: dict[str, Any] | None = None) -> Settings:
        """The settings of `effective`."""
        return self.effective(options).settings

    def result(self, figures: dict[str, Any], lines: Iterable[str]) -> None:
        """Print the outcome on standard output: `figures` as JSON with --json, else `lines`."""
        for line in [json.dumps(figures)] if self.as_json else lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class CodecOptions:
    """Which codec model runs, and on what."""

    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Codec model: name of a shipped one, or a folder.")
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="auto|onnx|int8|torch",
            help="What runs the model: ONNX Runtime, the same with 8-bit weights, or torch (auto: int8 in calls).",
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """As options for `Common.settings`."""
        return {"codec.model": self.model, "codec.engine": self.engine}


def command(app: typer.Typer, name: str, example: str, **kwargs: Any) -> Callable[[Callable[..., None]], None]:
    """Decorator: add a function as subcommand `name` of `app`; `example` is shown in its help.

    A parameter whose type is a dataclass stands for that class's fields as options; one must be `Common`, whose
    options come last. A parameter of the function's own hides a field of the same name.
    """

    def add(function: Callable[..., None]) -> None:
        hints = get_type_hints(function, include_extras=True)
        own = inspect.signature(function).parameters
        groups = {key: hints[key] for key in own if is_dataclass(hints[key])}
        parameters = {
            key: p.replace(annotation=hints[key], kind=inspect.Parameter.KEYWORD_ONLY)
            for key, p in own.items()
            if key not in groups
        }
        taken = {key: _options(group, parameters) for key, group in groups.items()}
        for key in sorted(groups, key=lambda key: groups[key] is Common):
            parameters |= taken[key]

        def run(**values: Any) -> None:
            made = {key: group(**{n: values.pop(n) for n in taken[key]}) for key, group in groups.items()}
            set_up_logging(next(group for group in made.values() if isinstance(group, Common)))
            function(**made, **values)

        run.__name__ = function.__name__
        run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        run.__annotations__ = {key: p.annotation for key, p in parameters.items()}
        app.command(name, help=_help(function), epilog=f"Example: {example}", **kwargs)(run)

    return add


def set_up_logging(common: Common) -> None:
    """Logs on standard error: warnings, or with -v everything; as JSON lines with --log-json."""
    handler = logging.StreamHandler()
    plain = "%(asctime)s %(levelname)s %(name)s: %(message)s" if common.verbose else "%(message)s"
    handler.setFormatter(_JsonFormatter() if common.log_json else logging.Formatter(plain))
    logging.getLogger().handlers[:] = [handler]
    for name, quiet in (("", "WARNING"), ("voicelink", "WARNING"), ("voicelink_client", "WARNING"),
                        ("voicelink_server", "INFO")):  # fmt: skip
        logging.getLogger(name).setLevel("DEBUG" if common.verbose and name else quiet)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _options(group: Any, hidden: Container[str]) -> dict[str, inspect.Parameter]:
    """The fields of a dataclass as keyword parameters, without the `hidden` ones."""
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return {
        f.name: inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name])
        for f in fields(group)
        if f.name not in hidden
    }


def _help(function: Callable[..., None]) -> str:
    """A docstring with each paragraph on one line, to be broken at the terminal's width."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
