"""Writing model folders: tensors, ONNX step graphs over them, and `model.toml` (needs torch and onnx)."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import toml
import torch
from torch import Tensor, nn

from voicelink.codec.bigvgan import BigVgan
from voicelink.codec.bvrnn import Bvrnn
from voicelink.codec.harmonic import HarmonicVocoder
from voicelink.codec.int8_graphs import to_int8
from voicelink.codec.mel import N_MELS
from voicelink.codec.model_folder import FORMAT, GRAPHS, INT8_GRAPHS, TENSORS, sha256
from voicelink.codec.safetensors import tensor_offsets, write_tensors
from voicelink.codec.search import search_step
from voicelink.errors import WeightsError

OPSET = 18
#: With '-' and 8 digits a name makes a model id, of which calls and `.vlk` files carry up to 64 printable characters.
NAME = r"[A-Za-z0-9._+-]{1,48}"
Vocoder = HarmonicVocoder | BigVgan


def save_model(
    folder: Path,
    *,
    name: str,
    bvrnn: Bvrnn,
    vocoder: Vocoder,
    licence: str,
    notes: str = "",
    min_bits: int = 1,
    half: bool = True,
) -> None:
    """Write a complete model folder; replaces one that is there only when the new one is whole.

    `min_bits`: fewest bits a frame the coder was trained for (all of them, for a fixed-rate model). With `half`,
    matrices are stored in half precision, vectors in single. Raises WeightsError where `folder` is there and no model
    folder, cannot be written, `name` cannot be part of a model id, or a weight is not finite or overflows half
    precision.
    """
    folder = folder.resolve()
    check_target(folder, name)
    work = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _fill(work, name, bvrnn, vocoder, licence, notes, min_bits, half)
        _put(work, folder)
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be written ({error.strerror or error}); check the path") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_target(folder: Path, name: str) -> None:
    """Raise WeightsError where `save_model` would refuse the folder or the name, before any work is spent on them."""
    if not re.fullmatch(NAME, name):
        raise WeightsError(f"{name!r} cannot be a model's name; use 1 to 48 letters, digits, '.', '_', '-' or '+'")
    try:
        taken = folder.exists() and not (folder / "model.toml").is_file()
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be written ({error.strerror or error}); check the path") from error
    if taken:
        raise WeightsError(f"{folder}: is there and no model folder; give a new folder, which will be made")


def _put(work: Path, folder: Path) -> None:
    """Move the finished folder to its place; the old one goes only after that."""
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        for extra in folder.glob("*.md"):
            shutil.copy(extra, work)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _fill(
    work: Path, name: str, bvrnn: Bvrnn, vocoder: Vocoder, licence: str, notes: str, min_bits: int, half: bool
) -> None:
    """Tensors, graphs and model.toml."""
    for file, module in zip(TENSORS, (bvrnn, vocoder), strict=True):
        write_tensors(work / file, _stored(module, file, half), {"format": str(FORMAT)})
    for graph, (step, arguments, names, tensors) in zip(GRAPHS, _steps(bvrnn, vocoder), strict=True):
        model = _graph(graph, step, arguments, names, work / tensors)
        (work / graph).write_bytes(model.SerializeToString())
        quick = graph.replace(".", ".int8.")
        if quick in INT8_GRAPHS:
            (work / quick).write_bytes(to_int8(model).SerializeToString())
    digest = hashlib.sha256(b"".join((work / file).read_bytes() for file in TENSORS)).hexdigest()
    table = {
        "format": FORMAT, "name": name, "model_id": f"{name}-{digest[:8]}",
        "licence": licence, "notes": notes, "half": half,
        "bvrnn": {**dataclasses.asdict(bvrnn.config), "min_bits": min_bits},
        "vocoder": {"kind": "bigvgan" if isinstance(vocoder, BigVgan) else "harmonic", **_plain(vocoder.config)},
        "files": {file: sha256(work / file) for file in (*GRAPHS, *INT8_GRAPHS, *TENSORS)},
    }  # fmt: skip
    (work / "model.toml").write_text(toml.dumps(table), encoding="utf-8")


def _stored(module: nn.Module, where: str, half: bool) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    tensors = {}
    for key, value in module.state_dict().items():
        array = value.detach().cpu().float().numpy()
        stored = array.astype(np.float16) if half and array.ndim >= 2 else array
        if not np.isfinite(stored).all():
            raise WeightsError(f"{where}: tensor {key} has values half precision cannot hold; train with weight decay")
        tensors[key] = stored
    return tensors


class _Encode(nn.Module):
    def __init__(self, model: Bvrnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor, sent: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return self.model.code_step(mel, sent, state)


class _Search(_Encode):
    def forward(  # type: ignore[override]
        self, mel: Tensor, sent: Tensor, code: Tensor, logit: Tensor, state: Tensor
    ) -> tuple[Tensor, ...]:
        return (search_step(self.model, mel, sent, code, logit, state),)


class _Decode(_Encode):
    def forward(self, code: Tensor, state: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return self.model.decode_step(code, state)


class _Prior(_Encode):
    def forward(self, state: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return (self.model.prior_step(state),)


class _Vocode(nn.Module):
    def __init__(self, model: Vocoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        made, following = self.model.step(mel, state)
        return (*made, following) if isinstance(made, tuple) else (made, following)


def _steps(bvrnn: Bvrnn, vocoder: Vocoder) -> list[tuple[nn.Module, tuple[Tensor, ...], list[str], str]]:
    """Step module, example arguments, input names and tensor file of each graph, in the order of GRAPHS."""
    bvrnn, vocoder = bvrnn.eval().cpu(), vocoder.eval().cpu()
    mel, state = torch.zeros(1, N_MELS), bvrnn.initial_state()
    # Three tensors: the exporter would take one given three times for one input.
    code, sent, logit = (torch.ones(1, bvrnn.config.bits) for _ in range(3))
    return [
        (_Encode(bvrnn), (mel, code, state), ["mel", "sent", "state"], TENSORS[0]),
        (_Search(bvrnn), (mel, sent, code, logit, state), ["mel", "sent", "code", "logit", "state"], TENSORS[0]),
        (_Decode(bvrnn), (code, state), ["code", "state"], TENSORS[0]),
        (_Prior(bvrnn), (state,), ["state"], TENSORS[0]),
        (_Vocode(vocoder), (mel[None], vocoder.initial_state()), ["mel", "state"], TENSORS[1]),
    ]


def _graph(file: str, step: nn.Module, arguments: tuple[Tensor, ...], names: list[str], tensors: Path) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step,
            arguments,
            dynamo=True,
            input_names=names,
            optimize=True,
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise WeightsError(f"{file}: the exporter returned no graph")
    model = program.model_proto
    _point_into(model.graph, tensors)
    del model.metadata_props[:]
    for node in model.graph.node:  # traces of the exporter: source paths of the machine it ran on
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _point_into(graph: Any, tensors: Path) -> None:
    """Make each weight of `graph` external data in the safetensors file, with a cast where it is stored in half."""
    offsets = tensor_offsets(tensors)
    casts = []
    for initializer in graph.initializer:
        entry = offsets.get(initializer.name.removeprefix("model."))
        if entry is None:
            continue  # a constant of the graph, not a weight
        half = entry.dtype == "F16"
        data = {"location": tensors.name, "offset": str(entry.offset), "length": str(entry.length)}
        initializer.ClearField("raw_data")
        initializer.ClearField("float_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        del initializer.external_data[:]
        for key, value in data.items():
            initializer.external_data.add(key=key, value=value)
        if half:
            name = initializer.name
            initializer.name, initializer.data_type = f"{name}.half", onnx.TensorProto.FLOAT16
            casts.append(onnx.helper.make_node("Cast", [initializer.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _plain(config: Any) -> dict[str, Any]:
    return {
        k: [list(i) if isinstance(i, tuple) else i for i in v] if isinstance(v, tuple) else v
        for k, v in dataclasses.asdict(config).items()
    }
