from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.codec.reference_layout import ReferenceVocoder
from voicelink.codec.bigvgan import BigVgan, BigVganConfig, SnakeBeta
from voicelink.errors import WeightsError

SMALL = BigVganConfig(channels=16)
FRAMES = 9
EXACT = 1e-10


def make_vocoder(config: BigVganConfig = SMALL, seed: int = 5) -> BigVgan:
    """Random weights, loud enough that every layer is heard; in double precision, where rounding is small."""
    torch.manual_seed(seed)
    vocoder = BigVgan(config).eval().double()
    with torch.no_grad():
        for name, parameter in vocoder.named_parameters():
            if name.endswith(("alpha", "beta")):
                parameter.normal_(0.0, 0.3)
            elif name.endswith("weight"):
                parameter.mul_(1.5)
    return vocoder


def make_mel(frames: int = FRAMES, batch: int = 1, seed: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 80, generator=generator, dtype=torch.float64) * 2 - 4


@torch.no_grad()
def run(vocoder: BigVgan, mel: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Samples [B, 256 T] and last state, `chunk` frames a step."""
    state, blocks = vocoder.initial_state(mel.shape[0]), []
    for start in range(0, mel.shape[1], chunk):
        block, state = vocoder.step(mel[:, start : start + chunk], state)
        blocks.append(block)
    return torch.cat(blocks, dim=1), state


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        BigVganConfig(
            channels=8,
            rates=(16, 4, 4),
            kernels=(16, 11, 9),
            block_kernels=(1, 4),
            block_dilations=((1, 2), (7,)),
        ),
    ],
)
def test_streaming_equals_offline(config: BigVganConfig, chunk: int) -> None:
    vocoder, mel = make_vocoder(config), make_mel()
    offline, last = run(vocoder, mel, FRAMES)
    streamed, streamed_last = run(vocoder, mel, chunk)
    assert offline.shape == (1, 256 * FRAMES)
    assert offline.std() > 0.01
    torch.testing.assert_close(streamed, offline, atol=EXACT, rtol=0)
    torch.testing.assert_close(streamed_last, last, atol=EXACT, rtol=0)


def test_later_frames_change_nothing_before_them() -> None:
    vocoder, mel = make_vocoder(), make_mel()
    changed = mel.clone()
    changed[:, 5:] = 2.0
    before, after = run(vocoder, mel, FRAMES)[0], run(vocoder, changed, FRAMES)[0]
    torch.testing.assert_close(after[:, : 5 * 256], before[:, : 5 * 256], atol=EXACT, rtol=0)
    assert (after[:, 5 * 256 : 6 * 256] - before[:, 5 * 256 : 6 * 256]).abs().max() > 1e-3
    prefix = run(vocoder, mel[:, :5], 5)[0]
    torch.testing.assert_close(prefix, before[:, : 5 * 256], atol=EXACT, rtol=0)


def test_two_interleaved_streams_equal_two_separate_ones() -> None:
    vocoder, first, second = make_vocoder(), make_mel(seed=1), make_mel(seed=2)
    states = [vocoder.initial_state(), vocoder.initial_state()]
    blocks: list[list[Tensor]] = [[], []]
    with torch.no_grad():
        for t in range(FRAMES):
            for stream, mel in enumerate((first, second)):
                block, states[stream] = vocoder.step(mel[:, t : t + 1], states[stream])
                blocks[stream].append(block)
    for stream, mel in enumerate((first, second)):
        assert torch.equal(torch.cat(blocks[stream], dim=1), run(vocoder, mel, 1)[0])


def test_streams_of_a_batch_do_not_meet() -> None:
    vocoder, mel = make_vocoder(), make_mel(batch=3)
    together = run(vocoder, mel, 2)[0]
    for stream in range(3):
        alone = run(vocoder, mel[stream : stream + 1], 2)[0]
        torch.testing.assert_close(together[stream : stream + 1], alone, atol=EXACT, rtol=0)


@torch.no_grad()
def test_step_leaves_its_inputs_alone_and_a_kept_state_replays() -> None:
    vocoder, mel = make_vocoder(), make_mel()
    _, state = run(vocoder, mel, FRAMES)
    kept, mel_kept = state.clone(), mel.clone()
    first = vocoder.step(mel[:, :1], state)
    assert torch.equal(state, kept)
    assert torch.equal(mel, mel_kept)
    first[1].zero_()  # the next state shares no memory with what was given
    assert torch.equal(state, kept)
    assert torch.equal(vocoder.step(mel[:, :1], state)[0], first[0])


def test_paper_size_and_parameter_names() -> None:
    vocoder = BigVgan()
    assert sum(parameter.numel() for parameter in vocoder.parameters()) == 930_321
    torch.manual_seed(0)
    reference = ReferenceVocoder(128).state_dict()
    shapes = {
        name.replace("weight_v", "weight"): value.shape
        for name, value in reference.items()
        if not name.endswith("weight_g")
    }
    assert {name: value.shape for name, value in vocoder.state_dict().items()} == shapes


def test_snake_beta_formula() -> None:
    snake = SnakeBeta(2)
    with torch.no_grad():
        snake.alpha.copy_(torch.tensor([0.0, np.log(3.0)]))
        snake.beta.copy_(torch.tensor([np.log(2.0), np.log(0.5)]))
    x = torch.tensor([[[0.3, -1.0], [0.7, 2.0]]])
    expected = [
        [v + np.sin(v) ** 2 / 2 for v in (0.3, -1.0)],
        [v + 2 * np.sin(3 * v) ** 2 for v in (0.7, 2.0)],
    ]
    torch.testing.assert_close(snake(x), torch.tensor([expected], dtype=torch.float32))


def test_gradients_reach_every_parameter() -> None:
    vocoder = make_vocoder()
    samples, _ = vocoder.step(make_mel(3), vocoder.initial_state())
    torch.autograd.backward(samples.square().sum())
    for name, parameter in vocoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"channels": 0}, "positive"),
        ({"rates": (), "kernels": ()}, "positive and not empty"),
        ({"block_dilations": ((1,), (), (1,))}, "positive and not empty"),
        ({"kernels": (16, 16, 4)}, "one kernel a rate"),
        ({"block_dilations": ((1, 3, 5),)}, "one list of dilations a block"),
        ({"kernels": (16, 4, 4, 4)}, "must not be smaller"),
        ({"rates": (8, 8, 2, 1)}, "128 samples a frame, not 256"),
        ({"channels": 24}, "cannot be halved 4 times"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, object], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        BigVganConfig(**sizes)  # type: ignore[arg-type]


class Step(nn.Module):
    def __init__(self, vocoder: BigVgan) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.vocoder.step(mel, state)


def test_exported_step_runs_in_onnx_runtime(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    caplog.set_level(logging.ERROR)
    config = BigVganConfig(16, block_kernels=(3,), block_dilations=((1, 3),))
    vocoder, mel = make_vocoder(config).float(), make_mel().float()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            Step(vocoder).eval(),
            (mel[:, :1], vocoder.initial_state()),
            input_names=["mel", "state"],
            dynamo=True,
            opset_version=18,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    program.save(tmp_path / "step.onnx")
    session = runtime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    state, blocks = vocoder.initial_state().numpy(), []
    for t in range(FRAMES):
        block, state = session.run(None, {"mel": mel[:, t : t + 1].numpy(), "state": state})
        blocks.append(block)
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), run(vocoder, mel, FRAMES)[0], atol=1e-4, rtol=0)
