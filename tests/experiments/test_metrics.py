"""Each metric orders known degradations, is exact for the same signal, and says what is missing."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tests.experiments.speech import bundled_clip, speech_like
from voicelink.errors import AudioError, ConfigError
from voicelink.experiments import metrics, models, pitch, words

SPEECH, RATE = bundled_clip()
SPEECH = SPEECH[: 4 * RATE]
NEEDS = {
    "pesq_wb": ("pesq",),
    "visqol": ("visqol", "ai_edge_litert"),
    "plcmos": ("speechmos",),
    "dnsmos": ("speechmos",),
    "speaker_similarity": ("torch", "librosa", "resemblyzer"),
    "word_accuracy": ("faster_whisper", "jiwer", *words.PARTS),
    "f0_rmse_semitones": ("pyworld",),
    "voicing_accuracy": ("pyworld",),
}
LOWER_IS_BETTER = ("log_mel_db", "f0_rmse_semitones")


def needs(name: str) -> None:
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module, reason=f"{name} needs {module}")


def noisy(level: float) -> np.ndarray:
    noise = np.random.default_rng(3).standard_normal(len(SPEECH))
    return np.clip(SPEECH + level * np.abs(SPEECH).max() * noise, -1, 1).astype(np.float32)


def with_gaps(share: float) -> np.ndarray:
    """20 ms gaps in `share` of the time."""
    step = RATE // 50
    rng = np.random.default_rng(4)
    keep = np.repeat(rng.random(len(SPEECH) // step + 1) >= share, step)[: len(SPEECH)]
    return (SPEECH * keep).astype(np.float32)


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.filterwarnings("default")  # other people's packages
def test_worse_speech_scores_worse(name: str) -> None:
    needs(name)
    best, fair, bad = (
        metrics.score([name], SPEECH, RATE, heard, RATE)[name] for heard in (SPEECH, noisy(0.02), noisy(0.2))
    )
    if name == "plcmos":  # it judges losses and little else
        fair, bad = (metrics.score([name], SPEECH, RATE, with_gaps(p), RATE)[name] for p in (0.1, 0.3))
    sign = -1 if name in LOWER_IS_BETTER else 1
    assert sign * best >= sign * fair >= sign * bad or name == "f0_rmse_semitones"
    assert sign * best > sign * bad


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("estoi", 1.0), ("pesq_wb", 4.64), ("speaker_similarity", 1.0), ("word_accuracy", 1.0), ("log_mel_db", 0.0)),
        *(("f0_rmse_semitones", 0.0), ("voicing_accuracy", 1.0)),
    ],
)
@pytest.mark.filterwarnings("default")
def test_the_same_signal_has_the_best_value(name: str, value: float) -> None:
    needs(name)
    assert metrics.score([name], SPEECH, RATE, SPEECH, RATE)[name] == pytest.approx(value, abs=0.01)


@pytest.mark.filterwarnings("default")
def test_scores_do_not_depend_on_what_was_scored_before() -> None:
    needs("plcmos")
    heard = with_gaps(0.2)
    np.random.seed(5)
    first = metrics.plcmos(heard, RATE)
    drawn = np.random.random()
    metrics.plcmos(SPEECH, RATE)
    assert metrics.plcmos(heard, RATE) == first
    np.random.seed(5)
    assert np.random.random() == drawn, "numpy's global generator is as it was"


@pytest.mark.filterwarnings("default")
def test_dnsmos_is_the_package_s_own_figure() -> None:
    for module in ("speechmos", "librosa", "requests"):
        pytest.importorskip(module)
    from speechmos import dnsmos

    speech = metrics._alone(SPEECH, RATE)
    theirs = dnsmos.run(speech, models.RATE_HZ)["ovrl_mos"]
    assert models.dnsmos_score(speech) == pytest.approx(float(theirs), abs=1e-4)


def test_search_aligns_what_is_late_and_inverted() -> None:
    late = np.concatenate([np.zeros(3_000, np.float32), -SPEECH])
    found = metrics.score(["log_mel_db", "estoi"], SPEECH, RATE, late, RATE, search=True)
    assert found["log_mel_db"] < 0.2
    assert found["estoi"] > 0.99
    assert metrics.score(["estoi"], SPEECH, RATE, late, RATE)["estoi"] < 0.5


def test_other_rates_are_compared_at_the_same_instants() -> None:
    from voicelink.audio.resampler import resample

    other = resample(SPEECH, RATE, 48_000)
    assert metrics.estoi(SPEECH, RATE, other, 48_000) > 0.99


@pytest.mark.parametrize("name", ["estoi", "pesq_wb", "log_mel_db", "f0_rmse_semitones"])
def test_what_cannot_be_scored_is_an_error_and_nan_in_a_table(name: str) -> None:
    needs(name)
    short = SPEECH[:1000]
    with pytest.raises(AudioError, match="too short"):
        metrics.WITH_REFERENCE[name](short, RATE, short, RATE)
    assert math.isnan(metrics.score([name], short, RATE, short, RATE)[name])


@pytest.mark.parametrize("name", ["estoi", "pesq_wb"])
def test_silence_cannot_be_scored(name: str) -> None:
    needs(name)
    silence = np.zeros(RATE, np.float32)
    with pytest.raises(AudioError, match="cannot score"):
        metrics.WITH_REFERENCE[name](silence, RATE, silence, RATE)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'pesq' is unknown; there are: estoi, pesq_wb"):
        metrics.score(["pesq"], SPEECH, RATE, SPEECH, RATE)


@pytest.mark.parametrize(
    ("name", "module", "how"),
    [
        ("plcmos", "speechmos", r"pip install 'voicelink\[metrics\]'"),
        ("visqol", "visqol", r"visqol-python\[lattice\]"),
        ("speaker_similarity", "resemblyzer", "--no-deps resemblyzer"),
        ("word_accuracy", "faster_whisper", r"pip install 'voicelink\[words\]'"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(
    name: str, module: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda asked: None if asked == module else find_spec(asked))
    for cached in (models.plcmos_model, models.visqol_api, models.speaker_encoder, words.recogniser):
        cached.cache_clear()
    if name == "speaker_similarity":
        needs_torch = [m for m in ("torch", "librosa") if find_spec(m) is None]
        if needs_torch:
            pytest.skip(f"{needs_torch[0]} is looked for first")
    with pytest.raises(ConfigError, match=how) as caught:
        metrics.score([name], SPEECH, RATE, SPEECH, RATE)
    assert "\n" not in str(caught.value)


def test_a_wrong_recogniser_folder_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(words.VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=r"no model\.bin"):
        words.model_folder()


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words.normalised("Don\u2019t STOP, \u2014 he said.") == ["don't", "stop", "he", "said"]


def test_pitch_of_a_known_interval() -> None:
    needs("f0_rmse_semitones")
    low, high = (pitch.f0_track(tone(hz), 16_000) for hz in (110.0, 110.0 * 2 ** (2 / 12)))
    assert pitch.rmse_semitones(low, high) == pytest.approx(2.0, abs=0.1)
    silence = np.zeros_like(low)
    assert math.isnan(pitch.rmse_semitones(low, silence))
    assert pitch.voicing_agreement(low, silence) < 0.2


def tone(hz: float) -> np.ndarray:
    t = np.arange(16_000) / 16_000
    return sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 20)).astype(np.float32) * np.float32(0.2)


def test_importing_the_metrics_loads_no_judge() -> None:
    import subprocess

    heavy = ("torch", "librosa", "visqol", "speechmos", "faster_whisper", "onnxruntime")
    code = f"import sys, voicelink.experiments.metrics; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_test_signal_is_speech_like() -> None:
    assert np.abs(speech_like(1.0)).max() == pytest.approx(0.5)
