"""The judges that are models themselves, each loaded once a process and run on one thread.

Sweeps run a process a core, so a judge must not take the others' cores; and a score must not depend on what was
scored before it, so whatever draws random numbers draws the same ones each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import ConfigError

RATE_HZ: Final = 16_000
#: Calibration of DNSMOS P.835's overall score from the network's output (Reddy, Gopal and Cutler, "DNSMOS P.835",
#: ICASSP 2022; the published evaluation script), and the seconds of speech that the network takes.
DNSMOS_OVERALL: Final = (-0.06766283, 1.11546468, 0.04602535)
DNSMOS_SECONDS: Final = 9.01
#: PLCMOS averages over draws of a random "rater".
PLCMOS_RATER_SEED: Final = 0


#: Speech, float32 [samples] at 16 kHz -> a voice's unit vector, float32 [256].
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def require(metric: str, module: str, how: str = "pip install 'voicelink[metrics]'") -> None:
    """Raise ConfigError with the command that helps where `module` is not installed."""
    if find_spec(module) is None:
        raise ConfigError(f"metric {metric} needs {module}, which is not installed: {how}")


@cache
def plcmos_model() -> Any:
    """PLCMOS v2 (Diener et al., "PLCMOS", Interspeech 2023) as the speechmos package ships it."""
    require("plcmos", "speechmos")
    from speechmos.plcmos import PLCMOS  # noqa: PLC0415

    model = PLCMOS()
    model.session = _session(Path(model.model_path))
    return model


def plcmos_score(speech: NDArray[np.float32]) -> float:
    """PLCMOS of float32 [samples] at 16 kHz; the model's raters are drawn from a fixed seed."""
    model = plcmos_model()
    before = np.random.get_state()
    np.random.seed(PLCMOS_RATER_SEED)  # the package draws from numpy's global generator
    try:
        return float(model.get_mos(speech))
    finally:
        np.random.set_state(before)


def dnsmos_file() -> Path:
    """The network of DNSMOS P.835 in the speechmos package (its own module would also need librosa)."""
    require("dnsmos", "speechmos")
    return _package_folder("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx"


@cache
def dnsmos_session() -> Any:
    """`dnsmos_file`, loaded."""
    return _session(dnsmos_file())


def dnsmos_score(speech: NDArray[np.float32]) -> float:
    """DNSMOS P.835 overall of float32 [samples] at 16 kHz: the mean over windows of 9.01 s, one a second.

    Shorter speech is doubled until it fills one, as in the published evaluation script.
    """
    session, width = dnsmos_session(), int(DNSMOS_SECONDS * RATE_HZ)
    while len(speech) < width:
        speech = np.concatenate([speech, speech])
    hops = int(np.floor(len(speech) / RATE_HZ) - DNSMOS_SECONDS) + 1
    windows = [speech[at : at + width] for at in range(0, hops * RATE_HZ, RATE_HZ)]
    raw = [session.run(None, {"input_1": window[None]})[0][0][2] for window in windows if len(window) == width]
    return float(np.mean(np.polyval(DNSMOS_OVERALL, np.array(raw, np.float64))))


@cache
def visqol_api() -> Any:
    """ViSQOL in speech mode with the deep-lattice mapper (Chinen et al., "ViSQOL v3", QoMEX 2020)."""
    require("visqol", "visqol", "pip install 'visqol-python[lattice]'")
    require("visqol", "ai_edge_litert", "pip install 'visqol-python[lattice]'")
    from visqol import VisqolApi  # noqa: PLC0415

    logging.getLogger("visqol").setLevel(logging.ERROR)  # it tells of every patch that loss has moved
    api = VisqolApi()
    api.create(mode="speech", use_lattice_model=True)
    return api


@cache
def speaker_encoder() -> Embed:
    """Speech of 16 kHz -> its speaker's vector."""
    weights = speaker_encoder_file()
    from voicelink.experiments.speaker import load_encoder  # noqa: PLC0415

    return load_encoder(weights)


def speaker_encoder_file() -> Path:
    """The speaker encoder of the resemblyzer package (Wan et al., "Generalized end-to-end loss", ICASSP 2018).

    Only the package's weights are used: its code needs a compiler to install and an older SciPy to run.
    """
    how = "pip install 'voicelink[train]' && pip install --no-deps resemblyzer"
    for module in ("torch", "librosa", "resemblyzer"):
        require("speaker_similarity", module, how)
    return _package_folder("resemblyzer") / "pretrained.pt"


def _package_folder(name: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = find_spec(name)
    folders = spec.submodule_search_locations if spec else None
    return Path(next(iter(folders or ["."])))


def _session(path: Path) -> Any:
    """An ONNX Runtime session on one thread of the processor."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
