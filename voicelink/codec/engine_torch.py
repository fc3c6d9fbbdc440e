"""Torch engine: the reference that trains and exports, behind the same interface."""

from __future__ import annotations

from typing import Any

import torch

from voicelink.codec.bigvgan import BigVgan, BigVganConfig
from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
from voicelink.codec.engine import Array
from voicelink.codec.harmonic import HarmonicConfig, HarmonicVocoder
from voicelink.codec.model_folder import TENSORS, ModelInfo
from voicelink.codec.safetensors import read_tensors
from voicelink.codec.search import search_step
from voicelink.errors import WeightsError


class TorchEngine:
    """The modules of a model folder; see `engine.Engine`."""

    name = "torch"
    batches = True

    def __init__(self, info: ModelInfo, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.bvrnn, self.vocoder = load_modules(info)

    def coder_state(self) -> Array:
        """Zero state [1, h]."""
        return self.bvrnn.initial_state().numpy()

    def vocoder_state(self) -> Array:
        """Zero state of the vocoder's network."""
        return self.vocoder.initial_state().numpy()

    def encode_step(self, mel: Array, sent: Array, state: Array, rounds: int = 0) -> tuple[Array, Array, Array]:
        """See `engine.Engine`."""
        code, logit = _run(self.bvrnn.code_step, mel, sent, state)
        for _ in range(rounds):
            code = _run(lambda *given: (search_step(self.bvrnn, *given),), mel, sent, code, logit, state)[0]
        decoded, state = self.decode_step(code, state)
        return code, decoded, state

    def decode_step(self, code: Array, state: Array) -> tuple[Array, Array]:
        """See `engine.Engine`."""
        mel, state = _run(self.bvrnn.decode_step, code, state)
        return mel, state

    def prior_step(self, state: Array) -> Array:
        """See `engine.Engine`."""
        return _run(lambda s: (self.bvrnn.prior_step(s),), state)[0]

    def vocoder_step(self, mel: Array, state: Array) -> list[Array]:
        """See `engine.Engine`."""
        return _run(self._flat_vocoder, mel, state)

    def _flat_vocoder(self, mel: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made, following = self.vocoder.step(mel, state)
        return (*made, following) if isinstance(made, tuple) else (made, following)


def load_modules(info: ModelInfo) -> tuple[Bvrnn, HarmonicVocoder | BigVgan]:
    """Torch modules of a model folder, in evaluation mode. Raises WeightsError where shapes do not fit."""
    bvrnn = Bvrnn(BvrnnConfig(info.hidden, info.bits))
    try:
        vocoder = make_vocoder(info.vocoder, info.vocoder_config)
    except TypeError as error:
        raise WeightsError(f"{info.folder / 'model.toml'}: vocoder settings do not fit this code ({error})") from error
    for module, file in zip((bvrnn, vocoder), TENSORS, strict=True):
        tensors = {k: torch.from_numpy(v.astype("float32")) for k, v in read_tensors(info.folder / file).items()}
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{info.folder / file}: weights do not match this code ({reason})") from error
        module.eval()
    return bvrnn, vocoder


def _run(step: Any, *arrays: Array) -> list[Array]:
    with torch.inference_mode():
        return [y.numpy() for y in step(*(torch.from_numpy(x) for x in arrays))]


def make_vocoder(kind: str, sizes: dict[str, Any]) -> HarmonicVocoder | BigVgan:
    """An untrained vocoder, "harmonic" or "bigvgan", of sizes as TOML gives them. Raises TypeError for unknown ones."""
    if kind == "harmonic":
        return HarmonicVocoder(HarmonicConfig(**sizes))
    return BigVgan(BigVganConfig(**_tuples(sizes)))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
