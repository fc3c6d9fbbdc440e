"""The `voicelink` command. Each subcommand's own modules are imported only when it is run."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

import voicelink
from voicelink.commands import (
    bench,
    call,
    config,
    demo,
    devices,
    files,
    keys,
    proxy,
    server,
    simulate,
    sweep,
    train,
    weights,
)
from voicelink.errors import VoicelinkError

INTERRUPTED: Final = 130
#: Which pip extra brings a module that may be missing.
EXTRAS: Final = {
    "call": ("onnxruntime", "sounddevice", "soundfile", "soxr", "zeroconf", "textual", "pystoi", "scipy", "matplotlib"),
    "train": ("torch", "librosa", "onnx", "safetensors", "parselmouth"),
    "metrics": ("pesq",),
    "sweep": ("pyarrow",),
    "cluster-server": ("redis",),
    "cluster": ("distributed", "dask"),
}

app = typer.Typer(
    name="voicelink",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Two-party voice calls over UDP on a neural speech codec at 86 bit/s to 5.5 kbit/s.",
    epilog="Start with: voicelink demo",
)
for module in (demo, call, server, devices, files, keys, simulate, sweep, proxy, config, weights, train, bench):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"voicelink {voicelink.__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 2 bad usage or bad input, 1 failed at run time, 130 interrupted. Every failure is one line on stderr.
    """
    try:
        code = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name="voicelink", standalone_mode=False
        )
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # who read our output has gone: nothing is left to say
        return 1
    except Exception as error:
        return INTERRUPTED if _was_interrupted(error) else _report(error)
    return code if isinstance(code, int) else 0


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a C extension turns one that comes while it loads into an ImportError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _report(error: Exception) -> int:
    """One line on stderr for any failure; returns the exit code for it."""
    if logging.getLogger("voicelink").isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    text, code = _explain(error)
    if text:
        sys.stderr.write(f"voicelink: {' '.join(text.split())}\n")
    return code


def _explain(error: Exception) -> tuple[str, int]:
    # The classes of typer's own copy of click are reached through the ones it exports.
    click_exception = typer.BadParameter.__mro__[2]
    if isinstance(error, VoicelinkError):
        return str(error), error.exit_code
    if isinstance(error, typer.Abort):
        return "", INTERRUPTED
    if isinstance(error, click_exception):
        return _usage(error), 2
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name), 2
    return _unforeseen(error), 1


def _unforeseen(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    return f"unexpected {type(error).__name__}: {error}; run again with -v for details"


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "voicelink"
    text = str(getattr(error, "format_message", error.__str__)())
    if not text or type(error).__name__ == "NoArgsIsHelpError":
        return "" if text else f"see `{path} --help`"
    return f"{text.rstrip('.')}; see `{path} --help`"


def _missing(module: str) -> str:
    top = module.partition(".")[0]
    extra = next((name for name, modules in EXTRAS.items() if top in modules), None)
    how = f"pip install 'voicelink[{extra}]'" if extra else f"pip install {top}"
    return f"{top} is needed for this and is not installed: {how}"


if __name__ == "__main__":
    sys.exit(main())
