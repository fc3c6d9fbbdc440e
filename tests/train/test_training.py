"""Preparation, exact resumption, and a run from audio files to a model that codes."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import toml
import torch

from tests.models import speech_like
from voicelink.codec.api import load_codec
from voicelink.codec.harmonic import HarmonicVocoder
from voicelink.codec.mel import PAD_LEFT
from voicelink.codec.model_folder import read_info
from voicelink.errors import AudioError, ConfigError, WeightsError
from voicelink.train import balance, bigvgan, coder, finetune, pitch, prepare, vocoder
from voicelink.train.data import LogMel, Segment, SpeechData, generator
from voicelink.train.evaluate import evaluate
from voicelink.train.export import export_model, load_vocoder
from voicelink.train.loop import learning_rate

RECIPES = Path(coder.__file__).parent / "recipes"
TINY_VOCODER = {"channels": 16, "blocks": 1, "inner": 32, "f0_channels": 16, "f0_blocks": 1, "f0_classes": 40}


def _recipe(name: str, **changes: object) -> dict:
    recipe = toml.load(RECIPES / f"{name}.toml")
    recipe.pop("sources")
    small = {"steps": 4, "batch": 3, "frames": 12, "warmup": 2}
    return {**recipe, **small, **changes}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for speaker in ("anna", "ben"):
        (root / "speech" / "studio").mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "speech" / "studio" / f"{speaker}.wav", speech_like(22_050 * 6, 22_050), 22_050)
    prepare.prepare([root / "speech"], root / "out")
    return root / "out"


def test_prepare_layout(prepared: Path) -> None:
    clips = prepare.load_index(prepared)
    assert [(c.source, c.speaker, c.split) for c in clips] == [("studio", "anna", "train"), ("studio", "ben", "train")]
    frames = sum(c.frames for c in clips)
    assert (prepared / "audio.i16").stat().st_size == frames * 256 * 2
    f0 = np.fromfile(prepared / "f0.f32", np.float32)
    assert len(f0) == frames
    voiced = f0[f0 > 0]
    assert len(voiced) > frames / 3
    assert 90 < np.median(voiced) < 200


def test_prepare_goes_on_after_an_interruption(prepared: Path, tmp_path: Path) -> None:
    source = Path(prepare.load_index(prepared)[0].path).parents[1]
    prepare.prepare([source], tmp_path)
    clips = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(clips[:1]))
    with (tmp_path / "audio.i16").open("ab") as file:
        file.write(b"half a file")
    prepare.prepare([source], tmp_path)
    for name in ("audio.i16", "f0.f32"):
        assert (tmp_path / name).read_bytes() == (prepared / name).read_bytes()


def test_band_estimate_finds_a_low_pass() -> None:
    from scipy.signal import firwin, lfilter

    noise = np.random.default_rng(0).standard_normal(22_050 * 5)
    narrow = lfilter(firwin(511, 6_000, fs=22_050), 1, noise)
    assert prepare.estimate_band_hz((noise * 3000).astype(np.int16)) > 10_500
    assert prepare.estimate_band_hz((narrow * 3000).astype(np.int16)) == pytest.approx(6_000, abs=450)


def test_nothing_to_prepare(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio files"):
        prepare.prepare([tmp_path], tmp_path / "out")
    (tmp_path / "fake.wav").write_text("not audio")
    with pytest.raises(AudioError, match=r"fake\.wav"):
        prepare.read_mono(tmp_path / "fake.wav")
    with pytest.raises(AudioError, match="not a prepared folder"):
        SpeechData(tmp_path)


def test_segments_are_a_function_of_seed_and_step(prepared: Path) -> None:
    data = SpeechData(prepared)
    one, two, other = (data.segments(generator(1, step), 2, 8).audio for step in (5, 5, 6))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    with pytest.raises(AudioError, match="not prepared: elsewhere"):
        SpeechData(prepared, {"elsewhere": 1.0})


@pytest.mark.parametrize("kind", ["vocoder", "coder"])
def test_resuming_is_exact(kind: str, prepared: Path, tmp_path: Path) -> None:
    model = {"hidden": 24} if kind == "coder" else TINY_VOCODER
    module = {"vocoder": vocoder, "coder": coder}[kind]
    recipe = _recipe(kind, steps=6, model=model)
    module.train(recipe, prepared, tmp_path / "whole")
    torch.manual_seed(recipe["seed"])
    task_class = {"vocoder": vocoder.VocoderTask, "coder": coder.CoderTask}[kind]
    _run_until(task_class(recipe, SpeechData(prepared)), recipe, tmp_path / "parts", 3)
    module.train(recipe, prepared, tmp_path / "parts")
    states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == 6
    for name, tensors in states[0]["modules"].items():
        for key, value in tensors.items():
            assert torch.equal(value, states[1]["modules"][name][key]), f"{name}.{key}"


def test_coded_mels_are_heard_through_a_vocoder(prepared: Path, tmp_path: Path) -> None:
    vocoder.train(_recipe("vocoder", steps=1, model=TINY_VOCODER), prepared, tmp_path / "vocoder")
    weights = {"spectral_weight": 1.0, "linear_weight": 1.0, "pesq_weight": 1.0, "estoi_weight": 1.0}
    wave = {
        **weights,
        "mos_weight": 0.0,
        "mos_layers_weight": 0.0,
        "speaker_weight": 0.0,
        "vocoder_run": str(tmp_path / "vocoder"),
    }
    wave = {**wave, "streams": 2, "weight": 1.0}
    recipe = _recipe("coder", frames=40, model={"hidden": 24}, wave=wave)
    task = coder.CoderTask(recipe, SpeechData(prepared))
    before = [p.clone() for p in task.heard.vocoder.parameters()]
    losses = task.step(generator(1, 0), 0)
    assert losses["wave_spectral"] > 0 < losses["wave_pesq"]
    assert all(torch.equal(a, b) for a, b in zip(before, task.heard.vocoder.parameters(), strict=True))
    mel = torch.zeros(2, 40, 80, requires_grad=True)
    loss, _ = task.heard(mel, task._window(generator(1, 1))[3])
    loss.backward()
    assert mel.grad[:, 20:].abs().max() > 0
    with pytest.raises(ConfigError, match="streams missing"):
        coder.CoderTask({**recipe, "wave": {k: v for k, v in wave.items() if k != "streams"}}, SpeechData(prepared))


def _run_until(task: object, recipe: dict, folder: Path, stop: int) -> None:
    """A run that is interrupted (SIGINT) during its step `stop`."""
    import signal

    from voicelink.train.loop import run

    inner = task.step

    def step(rng: np.random.Generator, number: int) -> dict[str, float]:
        if number + 1 == stop:
            signal.raise_signal(signal.SIGINT)
        return inner(rng, number)

    task.step = step
    assert run(task, recipe, folder) == stop


def test_another_recipe_in_the_same_folder_is_refused(prepared: Path, tmp_path: Path) -> None:
    recipe = _recipe("coder", steps=1, model={"hidden": 16})
    coder.train(recipe, prepared, tmp_path)
    with pytest.raises(ConfigError, match="holds a run with other lr"):
        coder.train({**recipe, "lr": 1.0}, prepared, tmp_path)


def test_learning_rate_schedule() -> None:
    recipe = {"lr": 1.0, "steps": 100, "warmup": 10, "lr_end": 0.1}
    rates = [learning_rate(recipe, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_the_coder_learns(prepared: Path) -> None:
    recipe = _recipe("coder", batch=8, frames=20, steps=60, lr=3e-3, warmup=5, model={"hidden": 64})
    torch.manual_seed(0)
    task = coder.CoderTask(recipe, SpeechData(prepared))
    from voicelink.train.loop import _set_lr

    errors = []
    for step in range(40):
        _set_lr(task, recipe, step)
        errors.append(task.step(generator(1, step), step)["mel_db"])
    assert np.mean(errors[-5:]) < 0.6 * np.mean(errors[:5])


def test_the_f0_trunk_alone_learns_and_goes_on_where_it_stopped(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=1, model={"hidden": 24}), prepared, tmp_path / "coder")
    vocoder.train(_recipe("vocoder", steps=1, frames=14, model=TINY_VOCODER), prepared, tmp_path / "voc")
    runs = {"coder_run": str(tmp_path / "coder"), "vocoder_run": str(tmp_path / "voc")}
    short = {"frames": 30, "batch": 6, "warmup": 1, "ema": 0.5, "lr": 3e-3, "model": TINY_VOCODER, **runs}
    recipe = _recipe("pitch", steps=40, **short)
    assert pitch.train(recipe, prepared, tmp_path / "whole") == 40
    losses = (tmp_path / "whole" / "checkpoint.pt", tmp_path / "voc" / "checkpoint.pt")
    after, before = (load_vocoder(path.parent) for path in losses)
    same = [torch.equal(a, b) for a, b in zip(after.trunk.parameters(), before.trunk.parameters(), strict=True)]
    assert all(same)
    data = SpeechData(prepared, recipe.get("sources"))
    one, other = (_pitch_error(model, data) for model in (after, before))
    assert one < 0.8 * other
    stopped = pitch.PitchTask(recipe, data)
    for step in range(3):
        torch.manual_seed(step)
        stopped.step(np.random.default_rng(step), step)
    again = pitch.PitchTask(recipe, data)
    again.model.load_state_dict(stopped.model.state_dict())
    again.optimisers["f0"].load_state_dict(stopped.optimisers["f0"].state_dict())
    again.restore(stopped.carried())
    found = []
    for task in (stopped, again):
        torch.manual_seed(3)
        found.append(task.step(np.random.default_rng(3), 3))
    assert found[0] == found[1]


def _pitch_error(model: HarmonicVocoder, data: SpeechData) -> float:
    segment = data.segments(np.random.default_rng(1), 8, 40)
    state = torch.split(model.initial_state(8), model.state_sizes, dim=2)[0]
    with torch.no_grad():
        logits, _ = model.f0_logits(LogMel()(segment.audio), state)
        return float(pitch.pitch_loss(model, logits, segment.f0_hz[:, 2:], 1.0)[0])


@pytest.mark.parametrize("speed", [0.82, 1.0, 1.22])
def test_speech_at_another_speed_has_its_track_at_that_speed(speed: float) -> None:
    frames, f0_hz = 40, 150.0
    count = pitch.frames_for(frames, speed)
    time_s = np.arange(256 * count + 768) / 22_050
    tone = torch.from_numpy(np.sin(2 * np.pi * f0_hz * time_s).astype(np.float32))[None]
    track = np.where(np.arange(count + 2) < 20, 0.0, f0_hz).astype(np.float32)  # voiced from 256 * 20 samples on
    audio, played = pitch.at_speed(
        Segment(tone, tone, torch.from_numpy(track)[None], torch.ones(1), torch.ones(1)), frames, speed
    )
    assert audio.shape == (1, 256 * frames + 768)
    assert played.shape == (1, frames + 2)
    middle = audio[0, 2048 : 2048 + 4096].numpy() * np.hanning(4096)
    peak_hz = float(np.argmax(np.abs(np.fft.rfft(middle, 1 << 18)))) * 22_050 / (1 << 18)
    assert peak_hz == pytest.approx(f0_hz * speed, rel=0.002)
    voiced = played[0].numpy() > 0
    assert played[0].numpy()[voiced] == pytest.approx(f0_hz * speed, rel=0.002)
    assert abs(int(np.argmax(voiced)) - round(20 / speed)) <= 1


def test_fine_tuning_can_leave_the_f0_trunk_alone(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=1, model={"hidden": 24}), prepared, tmp_path / "coder")
    vocoder.train(_recipe("vocoder", steps=1, frames=14, model=TINY_VOCODER), prepared, tmp_path / "voc")
    runs = {"coder_run": str(tmp_path / "coder"), "vocoder_run": str(tmp_path / "voc")}
    before = load_vocoder(tmp_path / "voc")
    for weight in (0.0, 1.0):
        small = {"frames": 14, "warmup": 1, "ema": 0.5, "model": TINY_VOCODER}
        recipe = _recipe("finetune", steps=2, f0_weight=weight, **small, **runs)
        finetune.train(recipe, prepared, tmp_path / f"fine{weight}")
        after = load_vocoder(tmp_path / f"fine{weight}")
        kept = [
            torch.equal(a, b) for a, b in zip(after.f0_trunk.parameters(), before.f0_trunk.parameters(), strict=True)
        ]
        assert all(kept) is (weight == 0.0)
        assert not torch.equal(after.trunk.head.weight, before.trunk.head.weight)


def test_from_audio_to_a_model_that_codes(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=2, model={"hidden": 24}), prepared, tmp_path / "coder")
    vocoder.train(_recipe("vocoder", steps=2, frames=14, model=TINY_VOCODER), prepared, tmp_path / "voc")
    runs = {"coder_run": str(tmp_path / "coder"), "vocoder_run": str(tmp_path / "voc")}
    recipe = _recipe("finetune", steps=3, frames=14, model=TINY_VOCODER, warmup=1, **runs)
    finetune.train(recipe, prepared, tmp_path / "fine")
    with pytest.raises(WeightsError, match="runs may be swapped"):
        export_model(tmp_path / "voc", tmp_path / "coder", tmp_path / "model")
    model_id = export_model(tmp_path / "coder", tmp_path / "fine", tmp_path / "model")
    codec = load_codec(tmp_path / "model")
    assert codec.model_id == model_id
    items = tmp_path / "items" / "one"
    items.mkdir(parents=True)
    soundfile.write(items / "ref.wav", speech_like(22_050 * 2), 22_050)
    rows = evaluate(codec, items.parent, [5500], tmp_path / "decoded")
    assert [row["condition"] for row in rows] == ["uncoded", "5500bps"]
    assert rows[0]["mel_db"] == 0
    assert rows[1]["mel_db"] > 0
    assert 1.0 <= rows[1]["pesq_wb"] <= 4.65
    assert (tmp_path / "decoded" / "5500bps" / "one.wav").exists()


def test_segments_are_wanted_with_less_noise_where_they_have_any(prepared: Path) -> None:
    data = SpeechData(prepared)
    same = data.segments(np.random.default_rng(3), 24, 30, augmented=1.0)
    torch.testing.assert_close(same.audio, same.wanted, rtol=0, atol=0)
    lower = data.segments(np.random.default_rng(3), 24, 30, augmented=1.0, noise_reduction_db=20.0)
    torch.testing.assert_close(lower.audio, same.audio, rtol=0, atol=0)
    changed = (lower.wanted != lower.audio).any(dim=1)
    assert 3 <= int(changed.sum()) <= 18


def test_balance_measures_what_is_too_loud_and_takes_it_off(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=1, model={"hidden": 24}), prepared, tmp_path / "coder")
    vocoder.train(_recipe("vocoder", steps=1, model=TINY_VOCODER), prepared, tmp_path / "voc")
    runs = {"coder_run": str(tmp_path / "coder"), "vocoder_run": str(tmp_path / "voc"), "model": TINY_VOCODER}
    recipe = _recipe("balance", frames=60, **runs)
    assert balance.train(recipe, prepared, tmp_path / "whole") == 4
    tasks = [balance.BalanceTask(recipe, SpeechData(prepared)) for _ in range(2)]
    _run_until(tasks[0], recipe, tmp_path / "parts", 2)
    assert balance.train(recipe, prepared, tmp_path / "parts") == 4
    for bits in ([], [65], [1.5]):
        with pytest.raises(ConfigError, match="at least one whole number"):
            balance.BalanceTask({**recipe, "bits": bits}, SpeechData(prepared))
    states = [load_vocoder(tmp_path / run).state_dict() for run in ("whole", "parts", "voc")]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert [key for key, value in states[0].items() if not torch.equal(value, states[2][key])] == ["trunk.head.bias"]
    balance.apply(tasks[1].model, torch.full((257,), 2.0))
    for task in tasks:
        torch.manual_seed(1)
        task.sum_db, task.count = torch.zeros(257), torch.zeros(257)
        task.step(generator(1, 0), 0)
    known = tasks[0].count > 0
    assert 100 < known.sum() < 257
    louder = (tasks[1].mean_db() - tasks[0].mean_db())[known]
    torch.testing.assert_close(louder, torch.full_like(louder, 2.0), atol=0.1, rtol=0)


TINY_BIGVGAN = {"channels": 16, "block_kernels": [3], "block_dilations": [[1]]}


def test_a_bigvgan_learns_and_becomes_a_model(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=1, model={"hidden": 24}), prepared, tmp_path / "coder")
    short = {"frames": 24, "batch": 4, "steps": 30, "lr": 3e-3, "warmup": 20, "ema": 0.5}
    recipe = _recipe("bigvgan", coder_run=str(tmp_path / "coder"), model=TINY_BIGVGAN, **short)
    task = bigvgan.BigVganTask(recipe, SpeechData(prepared))
    segment, mel = task._batch(generator(1, 0))
    losses = [task.step(generator(1, 0), step) for step in range(24)]
    assert losses[-1]["spectral"] < 0.8 * losses[0]["spectral"]
    assert {"adversarial", "matching", "judges", "wave"} <= set(losses[22])
    made, true, _ = task._made(mel, segment)
    assert made.shape == true.shape == (4, 256 * (24 - bigvgan.SETTLING_FRAMES))
    assert bigvgan.train({**recipe, "steps": 2}, prepared, tmp_path / "voc") == 2
    export_model(tmp_path / "coder", tmp_path / "voc", tmp_path / "model")
    assert read_info(tmp_path / "model").vocoder == "bigvgan"
    with pytest.raises(WeightsError):
        load_vocoder(tmp_path / "voc")


def test_a_bigvgan_is_taught_the_samples_that_a_call_would_play(prepared: Path, tmp_path: Path) -> None:
    coder.train(_recipe("coder", steps=1, model={"hidden": 24}), prepared, tmp_path / "coder")
    recipe = _recipe("bigvgan", coder_run=str(tmp_path / "coder"), model=TINY_BIGVGAN, coded_share=0.0, frames=24)
    task = bigvgan.BigVganTask(recipe, SpeechData(prepared))
    audio = torch.arange(256 * 24 + 768, dtype=torch.float32)[None]
    segment = Segment(audio, audio, torch.zeros(1, 26), torch.ones(1), torch.ones(1))
    _, true, _ = task._made(torch.zeros(1, 24, 80), segment)
    # Frame t's window begins at sample 256 t of the segment, PAD_LEFT samples before the frame's own.
    assert true[0, 0] == 256 * bigvgan.SETTLING_FRAMES + PAD_LEFT


def test_the_tilt_of_balance() -> None:
    curve = balance.tilt(-0.7, 0.5)
    hz = torch.arange(257) * 22_050 / 512
    torch.testing.assert_close(curve[hz <= 200], torch.full((5,), -0.7))
    assert torch.all(curve[(hz >= 320) & (hz <= 500)] == 0)
    assert torch.all(curve[hz >= 900] == 0.5)
    assert torch.all(curve.diff() >= 0)


def test_balance_hears_a_filter_within_the_band_only() -> None:
    speech = torch.randn(2, 60_000, generator=torch.Generator().manual_seed(2))
    hz = torch.fft.rfftfreq(60_000, 1 / 22_050)
    filtered = torch.fft.irfft(torch.fft.rfft(speech) * torch.where(hz > 2_000, 0.5, 1.0), n=60_000)
    apart_db, known = balance.difference(filtered, speech, torch.tensor([4_000.0, 11_025.0]))
    assert known.sum(dim=1).tolist() == [84, 231]
    torch.testing.assert_close(apart_db[:, 55:], torch.full((2, 202), -6.02), atol=0.1, rtol=0)
    assert apart_db[:, :40].abs().max() < 0.1
