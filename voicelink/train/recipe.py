"""Training recipes: TOML files, checked against the shipped one of the same kind, and run."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

from voicelink.errors import ConfigError

FOLDER = Path(__file__).parent / "recipes"
KINDS = ("coder", "vocoder", "pitch", "finetune", "balance", "bigvgan")


def load_recipe(name: str | Path, **changes: object) -> dict:
    """A shipped recipe by its kind, or a TOML file; `changes` replace single entries (None: leave).

    Raises ConfigError for what is not a recipe: unknown kind or key, a missing key, a value of the wrong type.
    """
    path = FOLDER / f"{name}.toml" if str(name) in KINDS else Path(name)
    recipe = {**_read(path), **{key: value for key, value in changes.items() if value is not None}}
    kind = recipe.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{path}: kind = {kind!r}; a recipe's kind is one of {', '.join(KINDS)}")
    _check(path, recipe, _read(FOLDER / f"{kind}.toml"))
    return recipe


def with_sources_of(recipe: dict, data: Path) -> dict:
    """`recipe` without its `[sources]` where the prepared folder `data` has none of them.

    The shipped recipes' shares are those of the shipped model's data; with other data each source's share is then by
    the square root of its hours.
    """
    from voicelink.train.data import prepared_sources  # noqa: PLC0415

    if set(recipe.get("sources", {})) & prepared_sources(data):
        return recipe
    return {key: value for key, value in recipe.items() if key != "sources"}


def run_recipe(recipe: dict, data: Path, out: Path, threads: int = 1) -> int:
    """Train by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    import torch  # noqa: PLC0415

    from voicelink.train import balance, bigvgan, coder, finetune, pitch, vocoder  # noqa: PLC0415

    torch.set_num_threads(threads)
    modules = (coder, vocoder, pitch, finetune, balance, bigvgan)
    return dict(zip(KINDS, modules, strict=True))[recipe["kind"]].train(recipe, data, out)


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such recipe; give a TOML file or one of {', '.join(KINDS)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error


def _check(path: Path, recipe: dict, known: dict) -> None:
    optional = {"sources", "model", "wave"}
    unknown = sorted(set(recipe) - set(known) - optional)
    if unknown:
        raise ConfigError(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    missing = sorted(set(known) - set(recipe) - optional)
    if missing:
        raise ConfigError(f"{path}: {', '.join(missing)} missing; see {FOLDER / (recipe['kind'] + '.toml')}")
    sources = recipe.get("sources", {})
    if not isinstance(sources, dict) or not all(_is_share(share) for share in sources.values()):
        raise ConfigError(f"{path}: [sources] gives each source its share, a number of 0 or more")
    for table in ("model", "wave"):
        if not isinstance(recipe.get(table, {}), dict):
            raise ConfigError(f"{path}: {table} is not a table; write [{table}] and its settings below")
    for key, value in known.items():
        given = recipe.get(key, value)
        wanted = (int, float) if isinstance(value, float) else type(value)
        if isinstance(given, bool) or not isinstance(given, wanted):
            raise ConfigError(
                f"{path}: {key} = {given!r} is not {'a number' if wanted == (int, float) else wanted.__name__}"
            )
    small = [key for key in ("steps", "batch", "frames") if recipe[key] < 1]
    if small:
        raise ConfigError(f"{path}: {', '.join(small)} must be at least 1")


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
