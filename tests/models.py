"""Small random models, exported once a test session (fixtures of all tests), and a speech-like signal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voicelink.codec.api import Codec, load_codec

if TYPE_CHECKING:
    import torch


def speech_like(samples: int, rate: int = 22_050, seed: int = 3) -> np.ndarray:
    """A gliding harmonic tone with pauses and noise, float32 [samples] in +-1."""
    t = np.arange(samples) / rate
    phase = 2 * math.pi * np.cumsum(140 + 40 * np.sin(2 * math.pi * 0.7 * t)) / rate
    voice = sum(np.cos(k * phase) / k for k in range(1, 20))
    gate = (np.sin(2 * math.pi * 1.3 * t) > -0.3).astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * voice * gate + 0.003 * noise).astype(np.float32)


def _random(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.fixture(scope="session")
def harmonic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
    from voicelink.codec.harmonic import HarmonicConfig, HarmonicVocoder
    from voicelink.codec.model_writer import save_model

    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("models") / "tiny-harmonic"
    config = HarmonicConfig(channels=24, blocks=2, inner=48, f0_channels=16, f0_blocks=1, f0_classes=40, kernel=5)
    vocoder = _random(HarmonicVocoder(config), 1)
    bvrnn = _random(Bvrnn(BvrnnConfig(hidden=32)), 2)
    bvrnn.mean_mel.fill_(-5.0)
    bvrnn.std_mel.fill_(2.0)
    with torch.no_grad():
        bvrnn.dec[-1].bias.fill_(-4.0)
        vocoder.f0_trunk.head.bias[-1] = 0.5
    save_model(folder, name="tiny-harmonic", bvrnn=bvrnn, vocoder=vocoder, licence="CC0-1.0")
    return folder


@pytest.fixture(scope="session")
def bigvgan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from voicelink.codec.bigvgan import BigVgan, BigVganConfig
    from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
    from voicelink.codec.model_writer import save_model

    torch.manual_seed(6)
    folder = tmp_path_factory.mktemp("models") / "tiny-bigvgan"
    vocoder = _random(BigVgan(BigVganConfig(channels=16)), 3)
    bvrnn = _random(Bvrnn(BvrnnConfig(hidden=24)), 4)
    save_model(folder, name="tiny-bigvgan", bvrnn=bvrnn, vocoder=vocoder, licence="CC0-1.0")
    return folder


@pytest.fixture(scope="session")
def harmonic_codec(harmonic_folder: Path) -> Codec:
    return load_codec(harmonic_folder)


@pytest.fixture(scope="session")
def bigvgan_codec(bigvgan_folder: Path) -> Codec:
    return load_codec(bigvgan_folder)
