"""The loop both recipes share: schedule, checkpoints, exact resumption, progress, Ctrl-C.

A run folder holds `checkpoint.pt` (weights, optimiser states, step), `recipe.toml` (what it was started with) and
`log.csv` (losses). A second start with the same folder goes on at the very step, with the same random draws.
"""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import toml
import torch
from torch import Tensor, nn

from voicelink.errors import ConfigError, WeightsError, first_line
from voicelink.train.data import generator
from voicelink.train.progress import Progress

CHECKPOINT_EVERY_S = 180.0


class Task(Protocol):
    """What one recipe adds: its modules, their optimisers, and one step."""

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Forward, backward and optimiser step; returns named losses."""

    def carried(self) -> object:
        """Whatever else must survive a restart (streams in progress ...); plain containers and tensors."""

    def restore(self, carried: object) -> None:
        """Inverse of `carried`."""


def run(task: Task, recipe: dict[str, object], folder: Path) -> int:
    """Train until `recipe["steps"]`, or until interrupted; returns the step reached.

    `recipe` needs `steps`, `lr`, `warmup` and `seed`; an optional `lr_end` is the share of `lr` that the
    cosine ends at. Raises ConfigError where the folder holds a run of another recipe or cannot be written, and
    WeightsError where its checkpoint is damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    step = _resume(task, recipe, folder)
    total, seed = int(recipe["steps"]), int(recipe["seed"])
    progress = Progress(total, "steps", done=step, every_s=15.0)
    stop = _StopOnInterrupt()
    saved = time.monotonic()
    smooth: dict[str, float] = {}
    with stop, (folder / "log.csv").open("a") as log:
        while step < total and not stop.asked:
            _set_lr(task, recipe, step)
            torch.manual_seed(seed * 1_000_003 + step)
            losses = task.step(generator(seed, step), step)
            step += 1
            smooth = {k: v if k not in smooth else 0.98 * smooth[k] + 0.02 * v for k, v in losses.items()}
            progress.step(" ".join(f"{k} {v:.4f}" for k, v in smooth.items()))
            if step % 100 == 0:
                log.write(f"{step}," + ",".join(f"{k}={v:.5f}" for k, v in smooth.items()) + "\n")
                log.flush()
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                _save(task, step, folder)
                saved = time.monotonic()
    _save(task, step, folder)
    return step


def learning_rate(recipe: dict[str, object], step: int) -> float:
    """Linear warm-up, then half a cosine to `lr * lr_end` at the last step."""
    lr, total, warmup = float(recipe["lr"]), int(recipe["steps"]), int(recipe["warmup"])
    if step < warmup:
        return lr * (step + 1) / warmup
    end = float(recipe.get("lr_end", 0.02))
    phase = (step - warmup) / max(1, total - warmup)
    return lr * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, phase))))


def clip_gradients(module: nn.Module, limit: float) -> Tensor:
    """Scale gradients to a norm of at most `limit`; returns the norm before."""
    return nn.utils.clip_grad_norm_(module.parameters(), limit)


def read_checkpoint(path: Path) -> dict:
    """A run's checkpoint. Raises WeightsError where there is none or it is damaged."""
    if not path.is_file():
        raise WeightsError(f"{path}: not found; give the folder of a training run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not set(state) >= {"step", "modules", "optimisers", "carried"}:
            raise WeightsError(f"{path}: not the checkpoint of a training run")
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged file makes torch raise
        text = f"{path}: damaged or no checkpoint ({first_line(error)}); restore it, or remove it to start anew"
        raise WeightsError(text) from error
    return state


def _set_lr(task: Task, recipe: dict[str, object], step: int) -> None:
    for optimiser in task.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step) * group.get("lr_scale", 1.0)


def _save(task: Task, step: int, folder: Path) -> None:
    state = {
        "step": step,
        "modules": {k: m.state_dict() for k, m in task.modules.items()},
        "optimisers": {k: o.state_dict() for k, o in task.optimisers.items()},
        "carried": task.carried(),
    }
    temporary = folder / "checkpoint.pt.tmp"
    torch.save(state, temporary)
    temporary.replace(folder / "checkpoint.pt")


def _resume(task: Task, recipe: dict[str, object], folder: Path) -> int:
    path, stored = folder / "checkpoint.pt", folder / "recipe.toml"
    if stored.exists() and path.exists():
        try:
            before = toml.loads(stored.read_text())
        except ValueError as error:
            raise ConfigError(f"{stored}: damaged ({first_line(error)}); restore it or choose another --out") from error
        changed = sorted(k for k in {*before, *recipe} if before.get(k) != recipe.get(k))
        if changed:
            raise ConfigError(
                f"{folder}: holds a run with other {', '.join(changed)}; choose another --out or restore the recipe"
            )
    else:
        stored.write_text(toml.dumps(recipe))
    if not path.exists():
        return 0
    state = read_checkpoint(path)
    for name, module in task.modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimiser in task.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    task.restore(state["carried"])
    return int(state["step"])


class _StopOnInterrupt:
    """First Ctrl-C (or SIGTERM): finish the step, save, leave. Second: the usual KeyboardInterrupt."""

    def __enter__(self) -> _StopOnInterrupt:
        self.asked = False
        self.before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        for sig, handler in self.before.items():
            signal.signal(sig, handler)

    def __exit__(self, *_: object) -> None:
        for sig, handler in self.before.items():
            signal.signal(sig, handler)
