"""The batch form of compensation is that of encoders, and fine-tuning codes what it asks for."""

import numpy as np
import pytest
import torch

import voicelink
from voicelink.codec.compensation import SHARE, Compensation
from voicelink.codec.courses import windows
from voicelink.codec.mel import log_mel_frame
from voicelink.experiments.losstable import speech
from voicelink.train.compensation import compensated, lacks


def test_batch_equals_the_encoders_own() -> None:
    codec = voicelink.load_codec(engine="torch")
    frames = windows(speech(1, 4.0), 250)
    compensation = Compensation(codec.engine)
    mels = np.stack([log_mel_frame(window) for window in frames])
    own = np.stack([compensation.step(mel, window) for mel, window in zip(mels, frames, strict=True)])
    samples = np.concatenate([frames[0][:256], *(window[256:512] for window in frames), frames[-1][512:]])
    mel, audio = torch.from_numpy(mels)[None], torch.from_numpy(samples)[None]
    batch = lacks(codec.engine.vocoder, mel, audio, first_hop=0)[0].numpy()
    # A pitch that is rounded the other way now and then moves the pulses.
    assert np.quantile(np.abs(batch - own), 0.95) < 0.01 < np.abs(own).mean()
    asked = compensated(codec.engine.vocoder, mel.repeat(2, 1, 1), audio.repeat(2, 1), torch.tensor([28, 64]))
    added = (asked - mel).abs().mean(dim=(1, 2))
    assert float(added[1] / added[0]) == pytest.approx(4.0, rel=0.1)  # noise differs from stream to stream
    assert float(added[1]) == pytest.approx(SHARE * np.abs(own).mean(), rel=0.1)
