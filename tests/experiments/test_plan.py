"""A sweep's file: what it states, what the shipped ones hold, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicelink.errors import AudioError, ConfigError
from voicelink.experiments.plan import Sweep, find_sweep, load_sweep, shipped

GOOD = """
title = "T"
seeds = 2
[scenario]
seconds = 2.0
[grid]
loss = [0.0, 0.1]
redundancy = [0, 1, 2]
"""


def load(tmp_path: Path, text: str) -> Sweep:
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return load_sweep(path)


def test_a_grid_is_every_combination_the_last_key_fastest(tmp_path: Path) -> None:
    sweep = load(tmp_path, GOOD)
    assert [cell.point for cell in sweep.cells][:4] == [
        {"loss": 0.0, "redundancy": 0},
        {"loss": 0.0, "redundancy": 1},
        {"loss": 0.0, "redundancy": 2},
        {"loss": 0.1, "redundancy": 0},
    ]
    assert (sweep.name, sweep.title, sweep.seeds, sweep.rows) == ("my", "T", (1, 2), 12)
    assert sweep.cells[4].scenario.loss == 0.1
    assert sweep.cells[4].scenario.redundancy == 1
    assert (sweep.view.x, sweep.view.by, sweep.view.heat) == ("redundancy", ("loss",), ("redundancy", "loss"))


def test_curves_are_parted_by_a_list_and_by_default_by_what_a_figure_can_show(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD + '[report]\nx = "loss"\nby = "redundancy"\n').view.by == ("redundancy",)
    assert load(tmp_path, GOOD + '[report]\nby = ["loss", "redundancy"]\n').view.by == ("loss", "redundancy")
    clips = 'clips = ["english"]\ncodecs = ["voicelink", "opus"]\nseeds = 1\n[grid]\n'
    many = load(tmp_path, clips + "loss = [0.0, 0.1, 0.2, 0.3]\nredundancy = [0, 1, 2]\nburst = [0, 4, 8, 9]\n")
    assert (many.view.x, many.view.by) == ("loss", ("codec", "redundancy"))


def test_grids_are_united_without_doubles(tmp_path: Path) -> None:
    text = '[[grid]]\nloss = [0.0, 0.1]\n[[grid]]\nloss = [0.1, 0.2]\n[[grid]]\nprofile = ["wifi"]\n'
    points = [cell.point for cell in load(tmp_path, text).cells]
    assert points == [{"loss": 0.0}, {"loss": 0.1}, {"loss": 0.2}, {"profile": "wifi"}]


def test_shipped_sweeps_are_the_canonical_ones() -> None:
    sweeps = {name: load_sweep(path) for name, path in shipped().items()}
    assert set(sweeps) == {"random-loss", "burst-loss", "bandwidth", "packets", "jitter", "drift", "peers"}
    random = sweeps["random-loss"]
    assert random.rows == 11 * 3 * 4
    assert random.axes == {"loss": [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]}
    assert sweeps["burst-loss"].axes == {"burst": [1.0, 2.0, 3.0, 4.0], "loss": [0.05, 0.1, 0.2, 0.3]}
    assert sweeps["bandwidth"].axes["rate_kbps"] == [64.0, 32.0, 24.0, 16.0, 12.0, 8.0, 6.0]
    assert sweeps["peers"].codecs == ("voicelink", "opus", "codec2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = [", "is not valid TOML"),
        ("sedes = 3", "sedes is unknown; did you mean seeds?"),
        ("[grid]\nlos = [0.1]", "grid: los is unknown; did you mean loss?"),
        ("[grid]\nseed = [1]", "seed is unknown"),
        ("[grid]\nloss = 0.1", "is not a list of values to try"),
        ("[grid]\nloss = []", "is not a list of values to try"),
        ("[grid]\nloss = [1.5]", "out of range"),
        ('[grid]\nloss = ["much"]', "is not a number"),
        ("[scenario]\nlosss = 0.1", "losss is unknown; did you mean loss?"),
        ("[scenario]\nseed = 4", r"seed in \[scenario\]"),
        ("scenario = 3", "scenario is not a table"),
        ("seeds = 0", "seeds = 0 is neither a count nor"),
        ("seeds = [1, 1]", "names one twice"),
        ('clips = ["englisch"]', "clip englisch is unknown; did you mean english?"),
        ('clips = ["nowhere.wav"]', r"nowhere\.wav: no such file"),
        ('clips = ["english", "english"]', "names something twice"),
        ('clips = "english"', "is not a list of texts"),
        ('clips = ["english"]\nmetrics = ["pesq"]', "metrics: pesq is unknown; did you mean pesq_wb?"),
        ('clips = ["english"]\ncodecs = ["opsu"]', "codecs: opsu is unknown; did you mean opus?"),
        ('metrics = ["estoi"]', "need clips"),
        ('keep = "some"', "keep = 'some' is unknown"),
        ('[grid]\nloss = [0.1]\n[report]\nx = "los"', "report: x: los is unknown; did you mean loss?"),
        ('[grid]\nloss = [0.1]\n[report]\nheat = ["loss"]', "does not name two axes"),
        ('[grid]\nloss = [0.1]\n[report]\nby = ["loss", "los"]', "report: by: los is unknown; did you mean loss?"),
        ("[grid]\nloss = [0.1]\n[report]\nby = 3", "report: by: 3 is unknown"),
        ('[grid]\nloss = [0.1]\n[report]\nx = ["loss"]', r"x = \['loss'\] is not text"),
        ('[grid]\nloss = [0.1]\n[report]\nlog = "yes"', "log = 'yes' is not true or false"),
        ("seeds = 999999\n[grid]\nloss = [0.0, 0.1]", "rows are too many"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "my.toml" in str(caught.value)


def test_what_is_no_speech_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        load(tmp_path, 'clips = ["bad.wav"]')


def test_a_missing_sweep_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean random-loss"):
        find_sweep("randomloss")
    with pytest.raises(ConfigError, match="cannot read the sweep"):
        load_sweep(find_sweep(str(tmp_path / "none.toml")))
