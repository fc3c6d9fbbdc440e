"""`voicelink bench`: speed on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from voicelink.commands.common import CodecOptions, Common, command


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    group = typer.Typer(no_args_is_help=True, help="Speed on this machine.")
    command(group, "codec", "voicelink bench codec --engine onnx")(codec)
    app.add_typer(group, name="bench")


def codec(
    common: Common,
    options: CodecOptions,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How much speech to code, s.")] = 5.0,
) -> None:
    """Milliseconds a frame (11.6 ms of speech) of encoder, decoder and vocoder, on one thread; medians."""
    settings = common.settings(options.options()).codec
    from voicelink.codec.bench import bench_codec  # noqa: PLC0415

    figures = bench_codec(settings.model or None, settings.engine, seconds)  # type: ignore[arg-type]
    lines = [
        f"{figures['model']} on {figures['engine']}, one thread",
        f"encoder {figures['encoder_ms_per_frame']} ms, decoder {figures['decoder_ms_per_frame']} ms, "
        f"vocoder {figures['vocoder_ms_per_frame']} ms a frame",
        f"both directions take {figures['duplex_rtf']} of real time: {figures['streams_per_core']} calls a core",
    ]
    common.result(figures, lines)
