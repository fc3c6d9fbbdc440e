"""The robustness figures: what they mean, on a small random model and on a coder that forgets at once."""

from pathlib import Path

import numpy as np
import soundfile

from tests.models import speech_like
from voicelink.codec.api import Codec
from voicelink.train.robustness import frames_to_reconverge, lost_frames, robustness


class Forgetful:
    """A coder whose state is the sum of the last three codes: it is back three frames after a loss."""

    def coder_state(self):
        return np.zeros((1, 3), np.float32)

    def prior_step(self, state):
        return np.full((1, 64), 0.5, np.float32)

    def decode_step(self, code, state):
        state = np.concatenate([state[:, 1:], code[:, :1]], axis=1)
        return np.repeat(state.sum(axis=1, keepdims=True), 80, axis=1), state


def test_frames_to_reconverge_counts_from_the_end_of_a_loss() -> None:
    codes = np.ones((40, 64), np.float32)
    lost = np.zeros(40, bool)
    lost[[15, 25, 26]] = True
    assert frames_to_reconverge(Forgetful(), codes, lost) == [2, 2]
    lost[27] = lost[29] = True
    assert frames_to_reconverge(Forgetful(), codes, lost) == [2, 1, 2]


def test_losses_have_their_rate_and_spare_the_start() -> None:
    lost = lost_frames(100_000, 0.2, 3)
    assert not lost[:10].any()
    assert abs(lost.mean() - 0.2) < 0.005


def test_every_figure_is_there(harmonic_codec: Codec, tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "ref.flac", speech_like(24_000, 24_000, seed=ord(name)), 24_000)
    found = robustness(harmonic_codec, tmp_path)
    assert set(found) == {
        "estoi", "estoi_fall_loss_5", "estoi_fall_loss_10", "estoi_fall_loss_20", "frames_to_reconverge",
        "estoi_noisy_fan", "estoi_extra_fan", "estoi_noisy_babble", "estoi_extra_babble",
        "estoi_quiet", "estoi_clipped", "estoi_two_talkers", "silence_dbfs", "music_excess_db",
    }  # fmt: skip
    assert all(np.isfinite(value) for value in found.values())
