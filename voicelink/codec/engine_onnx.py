"""ONNX Runtime engine: what calls use, there with 8-bit weights. One thread, no torch."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import onnxruntime

from voicelink.codec.engine import Array
from voicelink.codec.model_folder import ModelInfo
from voicelink.errors import WeightsError, first_line

#: Outputs of each kind's graph, its next state included.
_VOCODER_OUTPUTS: Final = {"harmonic": 6, "bigvgan": 2}


class OnnxEngine:
    """The step graphs of a model folder, those with 8-bit weights where asked for; see `engine.Engine`.

    Raises WeightsError where they cannot be loaded, and where the folder has none with 8-bit weights.
    """

    batches = False  # the graphs are exported for one stream

    def __init__(self, info: ModelInfo, threads: int = 1, *, int8: bool = False) -> None:
        if int8 and not info.int8:
            raise WeightsError(f"{info.folder}: has no graphs of 8-bit weights; export the model again, or take onnx")
        self.name = "int8" if int8 else "onnx"
        self._info, self._threads = info, threads
        self._encoder, self._decoder, self._prior, self._vocoder = (
            self._session(f"{part}.int8.onnx" if int8 else f"{part}.onnx")
            for part in ("encoder", "decoder", "prior", "vocoder")
        )
        hidden, outputs = self._decoder.get_inputs()[1].shape[-1], len(self._vocoder.get_outputs())
        if (hidden, outputs) != (info.hidden, _VOCODER_OUTPUTS[info.vocoder]):
            raise WeightsError(f"{info.folder}: model.toml and the graphs are of different models; export it again")
        self._vocoder_state_shape = [int(n) for n in self._vocoder.get_inputs()[1].shape]
        self._hidden = info.hidden

    def coder_state(self) -> Array:
        """Zero state [1, h]."""
        return np.zeros((1, self._hidden), np.float32)

    def vocoder_state(self) -> Array:
        """Zero state of the vocoder's network."""
        return np.zeros(self._vocoder_state_shape, np.float32)

    def encode_step(self, mel: Array, sent: Array, state: Array, rounds: int = 0) -> tuple[Array, Array, Array]:
        """See `engine.Engine`.

        Everything after the code is the decoder's step and runs in its session: weights are read from memory at every
        frame, and one copy that both directions of a call use stays in the processor's cache.
        """
        given = {"mel": mel, "sent": sent, "state": state}
        code, logit = self._encoder.run(None, given)
        for _ in range(rounds):
            code = self._search.run(None, {**given, "code": code, "logit": logit})[0]
        decoded, state = self.decode_step(code, state)
        return code, decoded, state

    @functools.cached_property
    def _search(self) -> onnxruntime.InferenceSession:
        """Loaded when first used: calls do without it."""
        return self._session("search.onnx")

    def _session(self, graph: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        folder = self._info.folder
        try:
            return onnxruntime.InferenceSession(str(folder / graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, all straight from Exception
            raise WeightsError(f"{folder}: ONNX Runtime cannot load {graph} ({first_line(error, 200)})") from error

    def decode_step(self, code: Array, state: Array) -> tuple[Array, Array]:
        """See `engine.Engine`."""
        mel, state = self._decoder.run(None, {"code": code, "state": state})
        return mel, state

    def prior_step(self, state: Array) -> Array:
        """See `engine.Engine`."""
        code: Array = self._prior.run(None, {"state": state})[0]
        return code

    def vocoder_step(self, mel: Array, state: Array) -> list[Array]:
        """See `engine.Engine`."""
        outputs: list[Array] = self._vocoder.run(None, {"mel": mel, "state": state})
        return outputs
