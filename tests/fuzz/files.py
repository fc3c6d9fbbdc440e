"""Damaged files against every reader of files that a user may have from somebody else.

Each must end in a value or in an error of ours, within bounded memory and time.
"""

from __future__ import annotations

import contextlib
import logging
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.core.world import frame
from voicelink.audio.files import read_audio
from voicelink.audio.wav import WavWriter
from voicelink.codec.model_folder import read_info, weights_root
from voicelink.codec.safetensors import read_tensors, write_tensors
from voicelink.codec.vlk import EncodedSpeech
from voicelink.config import load, sample
from voicelink.errors import VoicelinkError
from voicelink.keystore import IDENTITY_FILE, PEERS_FILE, KeyStore

from .mutate import mutated

MOST_BYTES = 20_000


class Readers:
    """One strike is one damaged file, given to its reader; files lie in `scratch`."""

    def __init__(self, seed: int, scratch: Path) -> None:
        self.rng = random.Random(seed)
        self.sent = 0
        self.taken = 0
        """Files that were read all the same."""
        self._scratch = scratch
        self._model = scratch / "model"
        self._model.mkdir(exist_ok=True)
        self._keys = KeyStore(scratch / "keys")
        self._keys.identity()
        self._keys.remember("bob@192.0.2.1:47600", bytes(range(32)))
        good = self._good()
        self._kinds: list[tuple[Callable[[bytes], object], list[bytes]]] = [
            *[(self._vlk, good["vlk"])] * 6, *[(self._tensors, good["tensors"])] * 4, *[(self._info, good["info"])] * 2,
            (self._settings, good["settings"]), (self._peers, good["peers"]), (self._peers, good["peers"]),
            (self._identity, good["identity"]), (self._sound, good["sound"]), (self._sound, good["sound"]),
        ]  # fmt: skip
        logging.getLogger("voicelink").setLevel("ERROR")  # not a line for each stereo file

    def strike(self) -> None:
        """One file at its reader."""
        self.sent += 1
        read, corpus = self.rng.choice(self._kinds)
        with contextlib.suppress(VoicelinkError):
            read(mutated(self.rng, corpus, MOST_BYTES))
            self.taken += 1

    def _good(self) -> dict[str, list[bytes]]:
        speech = [EncodedSpeech("m-1", rate, n * 300, tuple(frame(i, bits) for i in range(n * 300 // 256 + 4)))
                  for n, rate, bits in ((2, 24_000, 8), (9, 22_050, 64))]  # fmt: skip
        tensors, sound = self._scratch / "good.safetensors", self._scratch / "good.wav"
        write_tensors(tensors, {"a": np.ones((3, 4), np.float32), "b.c": np.zeros(5, np.float16)}, {"k": "v"})
        with contextlib.closing(WavWriter(sound, 22_050, 2)) as wav:
            wav.write(np.zeros((300, 2), np.float32))
        whole = sample().replace("\n#", "\n")
        settings = "[session]\nbits_max = 40\nname = 'x'\n[link]\nloss = 0.5\n[session2]\nq = [1, {a = 1}]\n"
        return {
            "vlk": [s.to_bytes() for s in speech],
            "tensors": [tensors.read_bytes()],
            "settings": [whole.encode(), *[settings.encode()] * 9],
            "info": [next(weights_root().glob("*/model.toml")).read_bytes()],
            "peers": [(self._keys.folder / PEERS_FILE).read_bytes()],
            "identity": [(self._keys.folder / IDENTITY_FILE).read_bytes()],
            "sound": [sound.read_bytes()],
        }

    def _write(self, path: Path, data: bytes) -> Path:
        path.write_bytes(data)
        return path

    def _vlk(self, data: bytes) -> object:
        """Mostly with the checksum made right again, so that damage gets further."""
        if self.rng.random() < 0.9:
            data = data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))
        return EncodedSpeech.from_bytes(data)

    def _tensors(self, data: bytes) -> object:
        return read_tensors(self._write(self._scratch / "x.safetensors", data))

    def _settings(self, data: bytes) -> object:
        return load(self._write(self._scratch / "x.toml", data), {})

    def _info(self, data: bytes) -> object:
        self._write(self._model / "model.toml", data)
        return read_info(self._model)

    def _peers(self, data: bytes) -> object:
        self._write(self._keys.folder / PEERS_FILE, data)
        return self._keys.known()

    def _identity(self, data: bytes) -> object:
        self._write(self._keys.folder / IDENTITY_FILE, data)
        return self._keys.identity()

    def _sound(self, data: bytes) -> object:
        return read_audio(self._write(self._scratch / "x.wav", data))
