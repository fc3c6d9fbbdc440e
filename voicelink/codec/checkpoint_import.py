"""The authors' checkpoints into a model folder (torch).

Read are the files released with Stahl, Windtner and Sontacchi, IEEE Access 12 (2024), doi
10.1109/ACCESS.2024.3482359: torch zip archives that hold `{"vrnn": state_dict}` (the coder, with its
optimiser beside it) and `{"generator": state_dict}` (the causal BigVGAN under weight norm: `weight_g`,
`weight_v`). They are opened with `torch.load(weights_only=True)` only, which runs no code.

Sizes come from the tensors' shapes. What shapes do not tell comes from the authors' toml file where it is
given, else is that of the released models: upsampling rates (half the kernels) and dilations (1, 3, 5).
Whether the coder was trained for any number of bits or for all of them is in that file alone: both released
coders have tensors of the same names and shapes. Layouts with the bitrate as an input of the coder are
older than the released weights and are refused; so are vocoders with anti-alias filters or other
activations.
"""

from __future__ import annotations

import pickle
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from voicelink.codec.bigvgan import BigVgan, BigVganConfig
from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
from voicelink.codec.mel import MAX_HZ, N_MELS, PAD_LEFT
from voicelink.errors import WeightsError, first_line
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, SAMPLE_RATE_HZ, WINDOW_SAMPLES

LICENCE: Final = "CC BY-NC 4.0, the licence of the authors' checkpoints: not for commercial use"
DILATIONS: Final = (1, 3, 5)

#: Settings of the authors' toml file that are built in here; a file that says otherwise is of another model.
_FIXED: Final = {
    "fs": SAMPLE_RATE_HZ, "winsize": WINDOW_SAMPLES, "hopsize": FRAME_SAMPLES, "num_mels": N_MELS,
    "fmin": 0, "fmax": MAX_HZ, "mel_pad_left": PAD_LEFT,
}  # fmt: skip
_FIXED_VOCODER: Final = {
    "resblock": "1", "num_mels": N_MELS, "activation": "snakebeta", "snake_logscale": True, "pre_sym": False,
    "post_sym": False, "antialias_post": False, "layers_sym": [False] * 4, "layers_antialias": [False] * 4,
}  # fmt: skip
_KEYS: Final = {"vrnn": "coder (--bvrnn)", "generator": "vocoder (--vocoder)"}
_FOREIGN: Final = "this is not a checkpoint of the released layout"
_LFS_POINTER: Final = b"version https://git-lfs"
_Module = TypeVar("_Module", bound=nn.Module)
_State = dict[str, Tensor]


@dataclass(frozen=True)
class ReleaseConfig:
    """The authors' toml file. `variable`: trained for 1 to `bits` bits a frame, not for all of them only."""

    path: Path
    hidden: int
    bits: int
    variable: bool
    vocoder: BigVganConfig


def import_checkpoints(bvrnn: Path, vocoder: Path, out: Path, config: Path | None = None) -> Path:
    """Convert two checkpoints to the model folder `out` and return it; `config` is the authors' toml file.

    Raises WeightsError for files that are missing, damaged, unsafe, of another layout or not of one model,
    and for an `out` that holds something other than a model.
    """
    from voicelink.codec.model_writer import check_target, save_model  # noqa: PLC0415  (needs onnx; loading alone does not)

    out = out.resolve()
    check_target(out, out.name)
    release = read_release_config(config) if config is not None else None
    modules = _load_bvrnn(bvrnn, release), _load_vocoder(vocoder, release)
    notes = f"Imported from {bvrnn.name} and {vocoder.name}. {_rate_note(config)}"
    save_model(
        out, name=out.name, bvrnn=modules[0], vocoder=modules[1], licence=LICENCE, notes=notes, half=False,
        min_bits=1 if release is None or release.variable else release.bits,
    )  # fmt: skip
    return out


def load_checkpoints(bvrnn: Path, vocoder: Path, config: Path | None = None) -> tuple[Bvrnn, BigVgan]:
    """Both modules, in float32, weight norm folded. Raises WeightsError as `import_checkpoints` does."""
    release = read_release_config(config) if config is not None else None
    return _load_bvrnn(bvrnn, release), _load_vocoder(vocoder, release)


def read_release_config(path: Path) -> ReleaseConfig:
    """Parse and check one of the authors' toml files. Raises WeightsError for one that cannot be run."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a toml file ({first_line(error, 120)})") from error
    try:
        voc = table["vocoder_config"]
        for settings, fixed in ((table, _FIXED), (voc, _FIXED_VOCODER)):
            for name, value in fixed.items():
                if settings[name] != value:
                    found = str(settings[name])[:60]
                    raise WeightsError(f"{path}: {name} is {found!r}, but only '{value}' can be run")
        dilations = tuple(_integers(row) for row in voc["resblock_dilation_sizes"])
        rates, kernels = _integers(voc["upsample_rates"]), _integers(voc["upsample_kernel_sizes"])
        (channels,) = _integers([voc["upsample_initial_channel"]])
        vocoder = BigVganConfig(channels, rates, kernels, _integers(voc["resblock_kernel_sizes"]), dilations)
        hidden, bits = _integers([table["h_dim"], table["z_dim"]])
        return ReleaseConfig(path, hidden, bits, bool(table["var_bit"]), vocoder)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path}: missing or bad entry {error}; give the authors' toml file") from error
    except WeightsError as error:
        raise WeightsError(_prefixed(path, error)) from error


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError(f"{str(values)[:60]!r} (integers are needed)")
    return tuple(values)


def _prefixed(path: Path, error: WeightsError) -> str:
    text = str(error)
    return text if text.startswith(f"{path}: ") else f"{path}: {text}"


def _rate_note(config: Path | None) -> str:
    if config is None:
        return "Whether it was trained for fewer bits a frame than all is in the authors' toml file."
    if read_release_config(config).variable:
        return "Trained for any number of bits a frame."
    return "Trained with all bits of a frame sent; fewer were never seen in training."


def _load_bvrnn(path: Path, release: ReleaseConfig | None) -> Bvrnn:
    state = _read_state(path, "vrnn")
    hidden = _shape(path, state, "rnn.weight_hh_l0", 2)[1]
    bits = _shape(path, state, "enc.4.weight", 2)[0]
    if _shape(path, state, "phi_z.0.weight", 2)[1] == 2 * bits:
        raise WeightsError(f"{path}: the coder has the bitrate as an input, an older layout; {_FOREIGN}")
    if not 1 <= bits <= MAX_BITS_PER_FRAME:
        raise WeightsError(f"{path}: {bits} bits a frame; at most {MAX_BITS_PER_FRAME} can be sent")
    if release is not None and (release.hidden, release.bits) != (hidden, bits):
        raise WeightsError(
            f"{path}: {hidden} units and {bits} bits a frame, but {release.path} says h_dim {release.hidden} "
            f"and z_dim {release.bits}; give the toml file of this checkpoint"
        )
    with torch.device("meta"):
        model = Bvrnn(BvrnnConfig(hidden, bits))
    model = _fill(path, model, state)
    if not bool((model.std_mel > 0).all()):
        raise WeightsError(f"{path}: std_mel must be positive; the file is damaged, fetch it again")
    return model


def _load_vocoder(path: Path, release: ReleaseConfig | None) -> BigVgan:
    state = _read_state(path, "generator")
    config = _vocoder_config(path, state)
    if release is not None:
        if _tensor_sizes(release.vocoder) != _tensor_sizes(config):
            raise WeightsError(f"{path}: sizes are not those in {release.path}; give the file that fits")
        config = release.vocoder
    with torch.device("meta"):
        model = BigVgan(config)
    return _fill(path, model, _fold_weight_norm(path, state))


def _vocoder_config(path: Path, state: _State) -> BigVganConfig:
    """Sizes by the tensors' shapes; rates and dilations, which those do not tell, as released."""
    channels, mels, _ = _shape(path, state, "conv_pre.weight_v", 3)
    stages = _count(state, r"ups\.\d+\.1\.weight_v")
    blocks = _count(state, r"resblocks\.\d+\.convs1\.0\.weight_v")
    if stages == 0 or blocks == 0 or blocks % stages:
        raise WeightsError(f"{path}: {stages} upsamplings and {blocks} residual blocks; {_FOREIGN}")
    pairs = _count(state, r"resblocks\.0\.convs1\.\d+\.weight_v")
    if pairs != len(DILATIONS):
        raise WeightsError(f"{path}: {pairs} pairs of layers a block, not {len(DILATIONS)}; {_FOREIGN}")
    kernels = [_shape(path, state, f"ups.{i}.1.weight_v", 3)[2] for i in range(stages)]
    widths = [_shape(path, state, f"resblocks.{j}.convs1.0.weight_v", 3)[2] for j in range(blocks // stages)]
    try:
        return BigVganConfig(
            channels, tuple(k // 2 for k in kernels), tuple(kernels),
            tuple(widths), (DILATIONS,) * len(widths), mels,
        )  # fmt: skip
    except WeightsError as error:
        raise WeightsError(_prefixed(path, error)) from error


def _tensor_sizes(config: BigVganConfig) -> tuple[object, ...]:
    dilations = [len(dilations) for dilations in config.block_dilations]
    return config.channels, config.mels, config.kernels, config.block_kernels, dilations


def _fold_weight_norm(path: Path, state: _State) -> _State:
    """Pairs weight_g, weight_v -> weight = g v / |v|, |v| axis 0 kept (Salimans, Kingma 2016, eq. 2)."""
    folded = {}
    for name, value in state.items():
        if name.endswith(".weight_v"):
            magnitude = state.get(name[:-1] + "g")
            if value.dim() != 3 or magnitude is None or magnitude.shape != (value.shape[0], 1, 1):
                raise WeightsError(f"{path}: tensor {name[:60]!r} has no fitting weight_g; {_FOREIGN}")
            norm = value.flatten(1).norm(dim=1).reshape(magnitude.shape)
            folded[name.removesuffix("_v")] = value * (magnitude / norm)
        elif not name.endswith(".weight_g"):
            folded[name] = value
    return folded


def _fill(path: Path, model: _Module, state: _State) -> _Module:
    """Give a module on the meta device its tensors. Raises WeightsError unless they fit exactly."""
    needed = model.state_dict()
    for name in sorted(needed.keys() | state.keys()):
        if name not in state:
            raise WeightsError(f"{path}: tensor '{name}' is missing; {_FOREIGN}")
        if name not in needed:
            raise WeightsError(f"{path}: tensor {name[:60]!r} is unknown; {_FOREIGN}")
        found, shape = list(state[name].shape), list(needed[name].shape)
        if found != shape:
            raise WeightsError(f"{path}: tensor '{name}' has shape {found}, not {shape}; {_FOREIGN}")
        if not bool(torch.isfinite(state[name]).all()):
            raise WeightsError(f"{path}: tensor '{name}' is not finite throughout; fetch the file again")
    model.load_state_dict({name: value.contiguous() for name, value in state.items()}, assign=True)
    return model.eval()


def _read_state(path: Path, key: str) -> _State:
    """The state dict under `key`, as float32 on the CPU; every tensor has its data in the file."""
    content = _load_zip(path)
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        other = next((what for k, what in _KEYS.items() if isinstance(content, dict) and k in content), None)
        hint = f"it is the {other} checkpoint" if other else "it is not one of the authors' checkpoints"
        raise WeightsError(f"{path}: no '{key}' entry, so not the {_KEYS[key]} checkpoint; {hint}")
    state: _State = content[key]
    for name, value in state.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise WeightsError(f"{path}: entry {str(name)[:60]!r} is not a tensor of weights; {_FOREIGN}")
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: tensors are larger than the file that holds them; fetch it again")
    return {name: value.detach().float() for name, value in state.items()}


def _is_plain(value: object) -> bool:
    """Whether `value` is a dense tensor of floating-point numbers with at least one element."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() > 0
    )


def _load_zip(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise WeightsError(f"{path}: only a Git LFS pointer; run 'git lfs pull' in its repository")
        if not zipfile.is_zipfile(path):
            raise WeightsError(f"{path}: not a whole torch checkpoint (a zip archive); fetch the file again")
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise WeightsError(f"{path}: compressed, which torch.save never does; fetch the file again")
        return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused: damaged, or holds objects that could run code; {_FOREIGN}") from error
    except Exception as error:  # whatever a damaged or hostile archive makes torch raise
        raise WeightsError(f"{path}: damaged ({first_line(error, 120)}); fetch the file again") from error


def _shape(path: Path, state: _State, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in state or state[name].dim() != dimensions:
        raise WeightsError(f"{path}: tensor '{name}' is missing or malformed; {_FOREIGN}")
    return tuple(state[name].shape)


def _count(state: _State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)
