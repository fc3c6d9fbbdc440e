"""Recipes are checked before hours are spent on them."""

from pathlib import Path

import pytest

from voicelink.errors import ConfigError
from voicelink.train.recipe import KINDS, load_recipe


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_recipes_pass_their_own_check(kind: str) -> None:
    assert load_recipe(kind)["kind"] == kind
    assert load_recipe(kind, steps=7, lr=None)["steps"] == 7


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("lr = 1.2e-3", "lr = 'fast'"), "lr = 'fast' is not a number"),
        (("lr = 1.2e-3", "learning = 1"), "unknown learning"),
        (("lr = 1.2e-3", ""), "lr missing"),
        (('kind = "coder"', 'kind = "soup"'), "kind = 'soup'"),
        (("lr = 1.2e-3", "lr ="), "cannot be read as TOML"),
        (("batch = 128", "batch = 0"), "batch must be at least 1"),
        (("kerstin = 0.04", "kerstin = -1"), "gives each source its share"),
        (("[model]\nhidden = 512", "model = 5"), "model is not a table"),
    ],
)
def test_mistakes_are_named(edit: tuple[str, str], message: str, tmp_path: Path) -> None:
    from voicelink.train.recipe import FOLDER

    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "coder.toml").read_text().replace(*edit))
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")
