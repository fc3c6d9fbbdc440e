from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.codec.reference_layout import (
    ReferenceCodec,
    ReferenceVocoder,
    example_speech,
    make_codec,
    reference_mel,
    with_tensor,
)
from voicelink.codec.bigvgan import BigVgan
from voicelink.codec.bvrnn import Bvrnn, sent_mask
from voicelink.codec.checkpoint_import import (
    LICENCE,
    import_checkpoints,
    load_checkpoints,
    read_release_config,
)
from voicelink.codec.mel import INPUT_SCALE, log_mel
from voicelink.errors import WeightsError

CONFIG = """
h_dim = 24
z_dim = 64
var_bit = true
num_mels = 80
fmin = 0
fmax = 8000
mel_pad_left = 256
fs = 22050
winsize = 1024
hopsize = 256
vocoder_config.resblock = "1"
vocoder_config.num_mels = 80
vocoder_config.pre_sym = false
vocoder_config.upsample_rates = [8, 8, 2, 2]
vocoder_config.upsample_kernel_sizes = [16, 16, 4, 4]
vocoder_config.upsample_initial_channel = 16
vocoder_config.resblock_kernel_sizes = [3, 7, 11]
vocoder_config.resblock_dilation_sizes = [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
vocoder_config.layers_sym = [false, false, false, false]
vocoder_config.layers_antialias = [false, false, false, false]
vocoder_config.antialias_post = false
vocoder_config.post_sym = false
vocoder_config.activation = "snakebeta"
vocoder_config.snake_logscale = true
"""


@torch.no_grad()
def code(bvrnn: Bvrnn, speech: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes [T, total] and decoded mel [1, T, 80], one frame a step, encoder and decoder each on its own."""
    sent = sent_mask(torch.tensor([bits]), bvrnn.config.bits)
    encoder_state, decoder_state = bvrnn.initial_state(), bvrnn.initial_state()
    codes, mels = [], []
    for frame in torch.from_numpy(log_mel(speech.numpy()))[:, None]:
        latent, _, encoder_state = bvrnn.encode_step(frame, sent, encoder_state)
        mel, decoder_state = bvrnn.decode_step(latent, decoder_state)
        codes.append(latent[0])
        mels.append(mel[0])
    return torch.stack(codes), torch.stack(mels)[None]


@torch.no_grad()
def synthesise(vocoder: BigVgan, mel: Tensor, chunk: int) -> Tensor:
    """Samples [256 T] at full scale, `chunk` frames a step."""
    state, blocks = vocoder.initial_state(), []
    for start in range(0, mel.shape[1], chunk):
        block, state = vocoder.step(mel[:, start : start + chunk], state)
        blocks.append(block[0])
    return torch.cat(blocks) / INPUT_SCALE


def write_config(folder: Path, *changes: tuple[str, str]) -> Path:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "config.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def codec() -> ReferenceCodec:
    return make_codec()


@pytest.fixture
def paths(codec: ReferenceCodec, tmp_path: Path) -> tuple[Path, Path]:
    return codec.save(tmp_path)


def test_front_end_equals_the_reference() -> None:
    speech = example_speech(256 * 40 + 100)
    found = torch.from_numpy(log_mel(speech.numpy()))
    torch.testing.assert_close(found, reference_mel(speech)[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("variable", "total", "bits"), [(True, 64, 16), (True, 64, 64), (False, 64, 64), (False, 16, 16)]
)
@pytest.mark.parametrize("chunk", [1, 4, 40])
def test_imported_model_codes_and_sounds_as_the_reference(
    tmp_path: Path, variable: bool, total: int, bits: int, chunk: int
) -> None:
    codec = make_codec(bits=total, variable=variable)
    bvrnn, vocoder = load_checkpoints(*codec.save(tmp_path))
    speech = example_speech(256 * 40)
    codes, mel = code(bvrnn, speech, bits)
    expected = codec.encode(speech, bits)
    assert torch.equal(codes, expected)
    assert (codes == 0.5).sum() == (total - bits) * 40
    assert 0.1 < codes[:, :bits].mean() < 0.9
    sound = codec.decode(expected, len(speech))
    assert sound.std() > 0.01
    torch.testing.assert_close(synthesise(vocoder, mel, chunk), sound, atol=1e-5, rtol=0)


def test_a_length_between_frames_agrees_as_far_as_whole_frames_go(codec: ReferenceCodec, tmp_path: Path) -> None:
    bvrnn, vocoder = load_checkpoints(*codec.save(tmp_path))
    speech = example_speech(256 * 12 + 200)
    _, mel = code(bvrnn, speech, 32)
    sound = codec.decode(codec.encode(speech, 32), len(speech))
    assert len(sound) == len(speech)
    torch.testing.assert_close(synthesise(vocoder, mel, 1), sound[: 256 * 12], atol=1e-5, rtol=0)


def test_paper_size(tmp_path: Path) -> None:
    codec = make_codec(hidden=1024, channels=128)
    paths = codec.save(tmp_path)
    bvrnn, vocoder = load_checkpoints(*paths)
    assert sum(value.numel() for value in bvrnn.state_dict().values()) == 23_448_945
    assert sum(value.numel() for value in vocoder.state_dict().values()) == 930_321
    speech = example_speech(256 * 6)
    codes, mel = code(bvrnn, speech, 35)
    assert torch.equal(codes, codec.encode(speech, 35))
    sound = codec.decode(codes, len(speech))
    torch.testing.assert_close(synthesise(vocoder, mel, 1), sound, atol=1e-5, rtol=0)


def test_toml_file_gives_rates_and_dilations(tmp_path: Path) -> None:
    torch.manual_seed(2)
    vocoder = ReferenceVocoder(16, (16, 2, 4, 2), (16, 16, 4, 4), dilations=(1, 2, 9))
    paths = ReferenceCodec(make_codec().bvrnn, vocoder.eval()).save(tmp_path)
    config = write_config(tmp_path, ("[8, 8, 2, 2]", "[16, 2, 4, 2]"), ("[1, 3, 5]", "[1, 2, 9]"))
    _, imported = load_checkpoints(*paths, config)
    assert imported.config.rates == (16, 2, 4, 2)
    mel = torch.randn(1, 8, 80)
    expected = vocoder(mel.transpose(1, 2), 256 * 8)[0, 0].detach() / INPUT_SCALE
    torch.testing.assert_close(synthesise(imported, mel, 3), expected, atol=1e-5, rtol=0)


def test_half_precision_checkpoint_is_read(codec: ReferenceCodec, tmp_path: Path) -> None:
    paths = codec.save(tmp_path)
    state = {name: value.half() for name, value in codec.bvrnn.state_dict().items()}
    torch.save({"vrnn": state}, paths[0])
    bvrnn, _ = load_checkpoints(*paths)
    assert torch.equal(bvrnn.state_dict()["dec.0.weight"], state["dec.0.weight"].float())


def test_model_folder_is_written_and_runs(codec: ReferenceCodec, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from voicelink.codec import load_codec
    from voicelink.codec.engine_torch import load_modules
    from voicelink.codec.model_folder import find_model, verify

    torch.manual_seed(2)
    vocoder = ReferenceVocoder(16, block_kernels=(3,)).eval()  # few layers, for a quick export
    paths = ReferenceCodec(codec.bvrnn, vocoder).save(tmp_path)
    config = write_config(
        tmp_path,
        ("var_bit = true", "var_bit = false"),
        ("[3, 7, 11]", "[3]"),
        ("[[1, 3, 5], [1, 3, 5], [1, 3, 5]]", "[[1, 3, 5]]"),
    )
    out = import_checkpoints(*paths, tmp_path / "imported", config)
    assert out == (tmp_path / "imported").resolve()
    info = find_model(out)
    verify(info)
    assert (info.vocoder, info.hidden, info.bits) == ("bigvgan", 24, 64)
    assert info.licence == LICENCE
    assert "all bits" in info.notes
    stored, loaded = load_modules(info), load_checkpoints(*paths)
    for found, exact in zip(stored, loaded, strict=True):
        for name, value in exact.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], value, atol=1e-5, rtol=1e-3)
    speech = example_speech(256 * 20).numpy()
    sounds = []
    for engine in ("onnx", "torch"):
        model = load_codec(out, engine=engine)
        sounds.append(model.decode(model.encode(speech, 22050, bitrate_bps=5512)))
    assert sounds[0].std() > 0.01
    np.testing.assert_allclose(sounds[0], sounds[1], atol=1e-4, rtol=0)


def test_a_folder_of_something_else_is_left_alone(paths: tuple[Path, Path], tmp_path: Path) -> None:
    kept = tmp_path / "mine" / "letter.txt"
    kept.parent.mkdir()
    kept.write_text("dear reader")
    with pytest.raises(WeightsError, match="no model folder"):
        import_checkpoints(*paths, kept.parent)
    assert kept.read_text() == "dear reader"


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.victim}",)


@pytest.mark.parametrize("which", [0, 1])
def test_a_pickle_that_would_run_code_is_refused(paths: tuple[Path, Path], tmp_path: Path, which: int) -> None:
    victim, path = tmp_path / "victim", paths[which]
    content = torch.load(path, weights_only=True)
    content[next(iter(content))]["extra"] = Attack(victim)
    torch.save(content, path)
    assert_refused(paths, path, "could run code")
    assert not victim.exists()
    torch.load(path, weights_only=False)  # the attack is a working one
    assert victim.exists()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole torch checkpoint"),
        (b"\x80\x02}q\x00.", "not a whole torch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(
    paths: tuple[Path, Path], which: int, content: bytes | None, message: str
) -> None:
    paths[which].unlink()
    if content is not None:
        paths[which].write_bytes(content)
    assert_refused(paths, paths[which], message)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(paths: tuple[Path, Path], share: float) -> None:
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[: int(len(data) * share)])
    assert_refused(paths, paths[1], "not a whole torch checkpoint")


def test_a_damaged_archive_is_refused(paths: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(paths[0], "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02garbage")
    assert_refused(paths, paths[0], "damaged")
    with zipfile.ZipFile(paths[0], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10_000))
    assert_refused(paths, paths[0], "compressed")


def test_files_given_the_wrong_way_round_are_named(paths: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsError, match=r"no 'vrnn' entry.* it is the vocoder"):
        load_checkpoints(paths[1], paths[0])
    with pytest.raises(WeightsError, match=r"no 'generator' entry.* it is the coder"):
        load_checkpoints(paths[0], paths[0])


FOREIGN: dict[str, tuple[str, Callable[[OrderedDict[str, Tensor]], object], str]] = {
    "list": ("vrnn", lambda s: [], "no 'vrnn' entry"),
    "empty": ("vrnn", lambda s: {}, "'rnn.weight_hh_l0' is missing"),
    "numbers": ("vrnn", lambda s: {"a": 1}, "not a tensor of weights"),
    "integers": ("vrnn", lambda s: with_tensor(s, "log_sigma", torch.tensor([1])), "not a tensor of weights"),
    "no elements": ("vrnn", lambda s: with_tensor(s, "log_sigma", torch.zeros(0)), "not a tensor of weights"),
    "number as name": (
        "vrnn",
        lambda s: dict([*s.items(), (3, torch.zeros(1))]),
        "entry '3' is not a tensor",
    ),
    "missing": ("vrnn", lambda s: with_tensor(s, "prior.2.bias", None), "'prior.2.bias' is missing"),
    "extra": ("vrnn", lambda s: with_tensor(s, "a\nb", torch.zeros(1)), "is unknown"),
    "odd shape": (
        "vrnn",
        lambda s: with_tensor(s, "dec.0.bias", torch.zeros(3)),
        r"has shape \[3\], not \[24\]",
    ),
    "not finite": (
        "vrnn",
        lambda s: with_tensor(s, "dec.0.bias", torch.full((24,), torch.nan)),
        "not finite",
    ),
    "no deviation": (
        "vrnn",
        lambda s: with_tensor(s, "std_mel", torch.zeros(80)),
        "std_mel must be positive",
    ),
    "expanded": (
        "vrnn",
        lambda s: with_tensor(s, "x", torch.zeros(1).expand(10**6, 10**6)),
        "larger than the file",
    ),
    "too many bits": (
        "vrnn",
        lambda s: with_tensor(s, "enc.4.weight", torch.ones(65, 24)),
        "65 bits a frame",
    ),
    "rate as input": (
        "vrnn",
        lambda s: with_tensor(s, "phi_z.0.weight", torch.ones(24, 128)),
        "bitrate as an input",
    ),
    "GRU of 3-D": ("vrnn", lambda s: with_tensor(s, "rnn.weight_hh_l0", torch.ones(1, 2, 3)), "malformed"),
    "no g": ("generator", lambda s: with_tensor(s, "conv_post.weight_g", None), "no fitting weight_g"),
    "flat v": (
        "generator",
        lambda s: with_tensor(s, "conv_post.weight_v", torch.ones(())),
        "no fitting weight_g",
    ),
    "zero v": (
        "generator",
        lambda s: with_tensor(s, "conv_post.weight_v", torch.zeros(1, 1, 7)),
        "not finite",
    ),
    "no upsampling": ("generator", lambda s: without(s, "ups."), "0 upsamplings"),
    "odd blocks": ("generator", lambda s: without(s, "resblocks.11."), "11 residual blocks"),
    "two pairs": ("generator", lambda s: without(s, "resblocks.0.convs1.2."), "2 pairs of layers"),
    "snake": ("generator", lambda s: without(s, "activation_post.beta"), "'activation_post.beta' is missing"),
    "filters": ("generator", lambda s: with_tensor(s, "activation_post.act.x", torch.ones(1)), "is unknown"),
    "other rates": (
        "generator",
        lambda s: with_tensor(s, "ups.0.1.weight_v", torch.ones(16, 8, 8)),
        "128 samples",
    ),
}


def without(state: OrderedDict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(("key", "change", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_layout_is_refused(
    paths: tuple[Path, Path],
    key: str,
    change: Callable[[OrderedDict[str, Tensor]], object],
    message: str,
) -> None:
    path = paths[key == "generator"]
    state = torch.load(path, weights_only=True)[key]
    torch.save({key: change(state)}, path)
    assert_refused(paths, path, message)


def test_toml_file_of_the_release_is_read(tmp_path: Path) -> None:
    release = read_release_config(write_config(tmp_path))
    assert (release.hidden, release.bits, release.variable) == (24, 64, True)
    assert release.vocoder.channels == 16
    assert release.vocoder.block_dilations == ((1, 3, 5),) * 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("h_dim = 24\n", "", "'h_dim'"),
        ("h_dim = 24", "h_dim = 1024", "24 units and 64 bits"),
        ("h_dim = 24", "h_dim = 'a'", "integers are needed"),
        ("h_dim = 24", "h_dim = ", "not a toml file"),
        ("fs = 22050", "fs = 16000", "fs is '16000', but only '22050'"),
        ('"snakebeta"', '"a\\nb"', "activation is"),
        ("layers_sym = [false", "layers_sym = [true", "layers_sym is"),
        ("initial_channel = 16", "initial_channel = 512", "sizes are not those"),
        ("initial_channel = 16", "initial_channel = 0", "must be positive"),
        ("[8, 8, 2, 2]", "[8, 8, 2]", "one kernel a rate"),
        ("[8, 8, 2, 2]", "8", "integers are needed"),
        ("[[1, 3, 5], [1, 3, 5], [1, 3, 5]]", "3", "missing or bad entry"),
    ],
)
def test_a_toml_file_that_does_not_fit_is_refused(
    paths: tuple[Path, Path], tmp_path: Path, old: str, new: str, message: str
) -> None:
    config = write_config(tmp_path, (old, new))
    with pytest.raises(WeightsError, match=message) as caught:
        load_checkpoints(*paths, config)
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_toml_file_that_is_not_there(paths: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        load_checkpoints(*paths, tmp_path / "none.toml")


def assert_refused(paths: tuple[Path, Path], path: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        load_checkpoints(*paths)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
