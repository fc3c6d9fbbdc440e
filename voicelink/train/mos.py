"""A differentiable DNSMOS P.835 as a training loss: made speech shall not be judged worse than what it was made from.

The network is that of Reddy, Gopal and Cutler (ICASSP 2022) as the speechmos package ships it; only its weights are
used. All its layers are convolutions below a global maximum, so it takes segments of any length, not only the nine
seconds that it was trained on. A measure that is trained on says less afterwards: report another one beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicelink.experiments.models import DNSMOS_OVERALL, dnsmos_file
from voicelink.units import SAMPLE_RATE_HZ

WINDOW_SAMPLES, HOP_SAMPLES = 320, 160
TAPS = 48  # of the resampler, in samples of 22.05 kHz
LEVELS = 7  # convolutions
POOLED_AFTER = (3, 4, 5)  # convolutions that a 2 x 2 maximum follows
#: Calibration of speech, background and overall scores: polynomials of the published evaluation script.
CALIBRATION = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    DNSMOS_OVERALL,
)


class MosDistance(nn.Module):
    """How far speech falls behind its reference for DNSMOS: in its three scores, and in its layers.

    Raises ConfigError where the speechmos package is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        weights = _weights()
        self.convolutions = nn.ModuleList()
        for level in range(LEVELS):
            name = f"conv2d_{level}" if level else "conv2d"
            kernel, bias = weights[f"{name}/kernel:0"], weights[f"{name}/bias:0"]
            layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            layer.weight.data, layer.bias.data = kernel, bias
            self.convolutions.append(layer)
        dense = ("dense", "dense_1", "dense_3")
        pattern = "mos_estimator_logpow/{}/{}/ReadVariableOp/resource:0"
        self.dense = nn.ParameterList(weights[pattern.format(name, "MatMul")] for name in dense)
        self.offsets = nn.ParameterList(weights[pattern.format(name, "BiasAdd")] for name in dense)
        self.register_buffer("cosines", weights["time2freq/stft-real/kernel:0"][..., 0].T.contiguous())
        self.register_buffer("sines", weights["time2freq/stft-imag/kernel:0"][..., 0].T.contiguous())
        self.register_buffer("resampling", resampling_kernel(), persistent=False)
        self.register_buffer("calibration", torch.tensor(CALIBRATION), persistent=False)
        self.requires_grad_(False)

    def forward(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """made, true [B, n] samples of 22.05 kHz, full scale 1 -> two scalars.

        The first is by how much the scores lie below the reference's, zero where they do not; the second the mean
        relative distance of what the layers find.
        """
        with torch.no_grad():
            wanted, aims = self.judge(to_16k(true, self.resampling))
        scores, found = self.judge(to_16k(made, self.resampling))
        behind = F.relu(wanted - scores).mean()
        apart = [(a - b).abs().mean() / b.abs().mean().clamp(min=1e-3) for a, b in zip(found, aims, strict=True)]
        return behind, torch.stack(apart).mean()

    def judge(self, speech: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, n] of 16 kHz -> calibrated scores [B, 3] of speech, background and all, and the layers' outputs."""
        frames = speech.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
        power = (frames @ self.cosines).square() + (frames @ self.sines).square()
        x, layers = (power.clamp(min=1e-12).log() / 2.302585)[:, None], []
        for level, layer in enumerate(self.convolutions):
            x = F.relu(layer(x))
            layers.append(x)
            if level in POOLED_AFTER:
                x = F.max_pool2d(x, 2)
        y = x.amax(dim=(2, 3))
        for number, (matrix, offset) in enumerate(zip(self.dense, self.offsets, strict=True)):
            y = y @ matrix + offset
            y = F.relu(y) if number < len(self.dense) - 1 else y
        square, linear, constant = self.calibration.unbind(1)
        return square * y.square() + linear * y + constant, layers


def to_16k(speech: Tensor, kernel: Tensor) -> Tensor:
    """[B, n] of 22.05 kHz -> [B, 320 n / 441] of 16 kHz through a windowed sinc, as a strided convolution."""
    wanted = speech.shape[1] * 320 // 441
    padded = F.pad(speech, (TAPS // 2, kernel.shape[-1]))
    return F.conv1d(padded[:, None], kernel, stride=441).transpose(1, 2).flatten(1)[:, :wanted]


def resampling_kernel(cutoff_hz: float = 7_700.0) -> Tensor:
    """[320, 1, 441 + TAPS]: sample p of 320 lies at 441 p / 320 of the input, TAPS / 2 after the kernel's begin."""
    at = torch.arange(320, dtype=torch.float64)[:, None] * 441 / 320
    time = torch.arange(441 + TAPS, dtype=torch.float64)[None] - TAPS // 2 - at
    cutoff = 2 * cutoff_hz / SAMPLE_RATE_HZ
    window = torch.where(time.abs() < TAPS / 2, 0.5 + 0.5 * torch.cos(2 * torch.pi * time / TAPS), 0.0)
    return (cutoff * torch.sinc(cutoff * time) * window)[:, None].float()


def _weights() -> dict[str, Tensor]:
    import onnx  # noqa: PLC0415

    graph = onnx.load(dnsmos_file()).graph
    return {item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy()) for item in graph.initializer}
