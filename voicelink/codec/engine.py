"""What runs the networks: one interface, two engines (ONNX Runtime for calls; torch as the reference).

All arrays are float32 and carry a batch axis, which is 1 in a call; an engine that `batches` takes any number of
streams side by side (and any number of frames in `vocoder_step`). States go in and come out; an engine keeps none, so
one engine serves any number of streams, from any thread.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Engine(Protocol):
    """The four step functions of a model, and the states before the first frame."""

    name: str
    batches: bool

    def coder_state(self) -> Array:
        """Zero state [1, h] of encoder and decoder."""

    def vocoder_state(self) -> Array:
        """Zero state of the vocoder's network."""

    def encode_step(self, mel: Array, sent: Array, state: Array) -> tuple[Array, Array, Array]:
        """mel [1, 80], sent [1, 64], state [1, h] -> code [1, 64], decoded mel [1, 80], state."""

    def decode_step(self, code: Array, state: Array) -> tuple[Array, Array]:
        """code [1, 64], state [1, h] -> decoded mel [1, 80], state."""

    def prior_step(self, state: Array) -> Array:
        """state [1, h] -> most likely code [1, 64] of the next frame."""

    def vocoder_step(self, mel: Array, state: Array) -> list[Array]:
        """mel [1, 1, 80], packed vocoder state -> the vocoder's outputs, its next state last."""
