from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from voicelink.errors import ConfigError
from voicelink.sim.call import simulate
from voicelink.sim.profiles import PROFILES
from voicelink.sim.scenario import Scenario, load_scenario, scenario_fields, scenario_from


def test_defaults_are_a_perfect_path() -> None:
    scenario = scenario_from({})
    assert scenario == Scenario()
    assert scenario.link(0) == scenario.link(1)
    assert scenario.bits() == 35
    session = scenario.session("a")
    assert (session.name, session.bits_min, session.bits_max) == ("a", 8, 35)
    assert scenario_from({"fixed": True}).session("a").bits_min == 35


def test_a_file_with_options_over_it(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        'profile = "moderate"\nloss = 0.1\nredundancy = 2\n'
        "[back]\nloss = 0.3\n[[changes]]\nat_s = 5\nbitrate_bps = 1400\n"
    )
    scenario = load_scenario(path, {"seed": 7})
    assert (scenario.delay_ms, scenario.jitter_model, scenario.seed) == (100.0, "pareto", 7)
    assert (scenario.link(0).loss, scenario.link(1).loss) == (0.1, 0.3)
    assert (scenario.bits(4.9), scenario.bits(5.0)) == (35, 16)
    assert scenario.session("b").bits_min == 8
    assert replace(scenario, fixed=True).session("b").bits_min == 16


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_can_be_simulated_and_written_out(name: str) -> None:
    scenario = scenario_from({"profile": name, "seconds": 1.0})
    assert scenario_from(scenario.to_mapping()) == scenario
    assert simulate(scenario).seconds == 1.0


def test_spiky_changes_and_changes_back() -> None:
    scenario = scenario_from({"profile": "spiky"})
    assert [scenario.link(0, at).loss for at in (0, 10, 20)] == [0.0, 0.3056, 0.0]
    assert [scenario.link(0, at).delay_ms for at in (9.99, 15, 25)] == [50.0, 100.0, 50.0]


def test_every_key_has_a_help_text_and_a_row_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()
    for name, field in scenario_fields().items():
        assert field.metadata["text"], name
        assert f"| `{name}`" in text, name


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"los": 0.1}, "los is unknown; did you mean loss"),
        ({"jitter": 5}, "did you mean jitter_ms"),
        ({"zzz": 1}, "zzz is unknown; there are "),
        ({"name": "x"}, "name is unknown"),
        ({"loss": "much"}, "loss = 'much' is not a number"),
        ({"loss": 2.0}, "out of range"),
        ({"seed": 1.5}, "not a whole number"),
        ({"profile": "wi-fi"}, "profile = 'wi-fi' is unknown; did you mean wifi?"),
        ({"profile": 3}, "profile = 3 is unknown; there are lan"),
        ({"loss": 0.8, "burst": 1}, "is not possible"),
        ({"loss_model": "trace"}, "a trace is to be replayed, and none is named"),
        ({"trace": "x.csv"}, "of no use"),
        ({"loss_model": "trace", "trace": "/no/such.csv"}, "cannot read the trace"),
        ({"back": 3}, "not a table"),
        ({"back": {"seed": 3}}, "seed is unknown"),
        ({"changes": 3}, "not a list of tables"),
        ({"changes": [{"loss": 0.1}]}, "number 1: at_s"),
        ({"changes": [{"at_s": 1, "losss": 0.1}]}, "did you mean loss"),
        ({"changes": [{"at_s": 1, "loss": 0.9, "burst": 1}]}, "is not possible"),
        ({"frames_per_packet": 4, "frames_per_packet_max": 2}, "outside 1..2"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match="scenario") as caught:
        scenario_from(values)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the scenario"):
        load_scenario(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("loss = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_scenario(bad)
