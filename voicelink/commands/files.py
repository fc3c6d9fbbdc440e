"""`voicelink encode`, `decode` and `info`: the codec on files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicelink.commands.common import Bitrate, CodecOptions, Common, command
from voicelink.errors import AudioError, WeightsError
from voicelink.units import MAX_RATE_HZ, MIN_RATE_HZ

if TYPE_CHECKING:
    from voicelink.codec.api import Codec
    from voicelink.codec.vlk import EncodedSpeech

CodedFile = Annotated[Path, typer.Argument(metavar="IN.vlk", help="Coded speech, from `voicelink encode`.")]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    command(app, "encode", "voicelink encode speech.wav speech.vlk --bitrate 3000")(encode)
    command(app, "decode", "voicelink decode speech.vlk heard.wav --loss 0.1 --burst 2 --seed 1")(decode)
    command(app, "info", "voicelink info speech.vlk --json")(info)


def encode(
    common: Common,
    codec: CodecOptions,
    source: Annotated[Path, typer.Argument(metavar="IN", help="WAV, FLAC, Ogg, Opus ... of any sample rate.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.vlk", help="Coded speech to write.")],
    bitrate: Bitrate = 3000,
) -> None:
    """Code an audio file's first channel as speech."""
    from voicelink.audio.files import read_audio, require_writable, write_bytes  # noqa: PLC0415

    require_writable(out, source)
    speech, rate_hz = read_audio(source)
    model = _load(common, codec)
    begin = time.perf_counter()
    coded = model.encode(speech, rate_hz, bitrate_bps=bitrate)
    spent = time.perf_counter() - begin
    write_bytes(out, coded.to_bytes())
    _print(common, _figures(coded) | {"rtf": round(spent / coded.seconds, 4), "out": str(out)}, out)


def decode(
    common: Common,
    codec: CodecOptions,
    source: CodedFile,
    out: Annotated[Path, typer.Argument(metavar="OUT.wav", help="16-bit WAV or FLAC to write, by its suffix.")],
    rate: Annotated[
        int | None,
        typer.Option(metavar="HZ", min=MIN_RATE_HZ, max=MAX_RATE_HZ, help="Sample rate (default: the source's)."),
    ] = None,
    loss: Annotated[float, typer.Option(min=0, max=0.9, help="Share of frames lost and concealed.")] = 0.0,
    burst: Annotated[
        float, typer.Option(min=0, max=1000, help="Mean length of a loss burst, frames; 0: independent.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the losses.")] = 0,
) -> None:
    """Decode a .vlk file to a WAV or FLAC of the source's sample rate and exact length."""
    from voicelink.audio.files import require_audio_name, require_writable, write_audio  # noqa: PLC0415
    from voicelink.sim.loss import GilbertLoss  # noqa: PLC0415

    require_writable(out, source)
    require_audio_name(out)
    coded = _read(source)
    model = _load(common, codec, coded)
    model.require_model(coded)
    lost = GilbertLoss(loss, burst, seed)
    missing = [lost.lost() for _ in coded.frames]
    begin = time.perf_counter()
    speech = _decode(model, coded, missing, rate)
    spent = time.perf_counter() - begin
    rate_hz = rate or coded.sample_rate
    write_audio(out, speech, rate_hz)
    figures = _figures(coded) | {
        "rtf": round(spent / coded.seconds, 4) if coded.samples else 0.0,
        "sample_rate": rate_hz,
        "samples": len(speech),
        "frames_concealed": sum(missing),
        "out": str(out),
    }
    _print(common, figures, out)


def info(common: Common, source: CodedFile) -> None:
    """What a .vlk file holds."""
    coded = _read(source)
    figures = _figures(coded) | {"runs": [list(run) for run in coded.runs()], "file_bytes": source.stat().st_size}
    _print(common, figures, source)


def _decode(model: Codec, coded: EncodedSpeech, missing: list[bool], rate: int | None) -> Any:
    """As `Codec.decode`, with the frames that are `missing` concealed."""
    if not any(missing):
        return model.decode(coded, rate)
    import numpy as np  # noqa: PLC0415

    from voicelink.codec.api import fit  # noqa: PLC0415

    decoder = model.decoder()
    pairs = zip(coded.frames, missing, strict=True)
    blocks = [decoder.conceal() if gone else decoder.play(frame) for frame, gone in pairs]
    return fit(np.concatenate(blocks), coded, rate)


def _read(path: Path) -> EncodedSpeech:
    from voicelink.codec.vlk import EncodedSpeech  # noqa: PLC0415

    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    return EncodedSpeech.from_bytes(data, str(path))


def _load(common: Common, options: CodecOptions, coded: EncodedSpeech | None = None) -> Codec:
    """The model that was asked for; for decoding, the shipped one that `coded` was made with, if there is one."""
    from voicelink.codec import load_codec  # noqa: PLC0415

    settings = common.settings(options.options()).codec
    model: str | Path | None = settings.model or None
    if model is None and coded is not None:
        model = _shipped_folder(coded.model_id)
    return load_codec(model, engine=settings.engine)  # type: ignore[arg-type]


def _shipped_folder(model_id: str) -> Path | None:
    from voicelink.codec.model_folder import shipped_models  # noqa: PLC0415

    try:
        return next((info.folder for info in shipped_models() if info.model_id == model_id), None)
    except WeightsError:
        return None  # no shipped weights: whatever is the default then says so


def _figures(coded: EncodedSpeech) -> dict[str, Any]:
    return {
        "frames": len(coded.frames),
        "seconds": round(coded.seconds, 6),
        "bitrate_bps": round(coded.bitrate_bps, 2),
        "payload_bytes": coded.payload_bytes,
        "model_id": coded.model_id,
        "sample_rate": coded.sample_rate,
        "samples": coded.samples,
    }


def _print(common: Common, figures: dict[str, Any], path: Path) -> None:
    lines = [
        f"{path}: {figures['seconds']:.2f} s, {figures['frames']} frames, {figures['bitrate_bps']:.0f} bit/s, "
        f"{figures['payload_bytes']} bytes of codes, model {figures['model_id']}"
    ]
    if "rtf" in figures:
        lines.append(f"took {figures['rtf']:.3f} of its length")
    if figures.get("frames_concealed"):
        lines.append(f"{figures['frames_concealed']} frames lost and concealed")
    common.result(figures, lines)
