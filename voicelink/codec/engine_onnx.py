"""ONNX Runtime engine: what calls use. One thread, no torch."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnxruntime

from voicelink.codec.engine import Array
from voicelink.codec.model_folder import GRAPHS, ModelInfo
from voicelink.errors import WeightsError, first_line

#: Outputs of each kind's graph, its next state included.
_VOCODER_OUTPUTS: Final = {"harmonic": 6, "bigvgan": 2}


class OnnxEngine:
    """The step graphs of a model folder; see `engine.Engine`."""

    name = "onnx"
    batches = False  # the graphs are exported for one stream

    def __init__(self, info: ModelInfo, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            sessions = [
                onnxruntime.InferenceSession(str(info.folder / graph), options, providers=["CPUExecutionProvider"])
                for graph in GRAPHS
            ]
        except Exception as error:  # onnxruntime raises its own classes, all straight from Exception
            raise WeightsError(
                f"{info.folder}: ONNX Runtime cannot load the graphs ({first_line(error, 200)})"
            ) from error
        self._encoder, self._decoder, self._prior, self._vocoder = sessions
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

    def encode_step(self, mel: Array, sent: Array, state: Array) -> tuple[Array, Array, Array]:
        """See `engine.Engine`.

        Everything after the code is the decoder's step and runs in its session: weights are read from memory at every
        frame, and one copy that both directions of a call use stays in the processor's cache.
        """
        code: Array = self._encoder.run(None, {"mel": mel, "sent": sent, "state": state})[0]
        decoded, state = self.decode_step(code, state)
        return code, decoded, state

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
