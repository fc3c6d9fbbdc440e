"""Our identity key and the keys of those we know, as files that only their owner can read.

`identity.key` holds the private key, `known_peers` a public key and a label a line. Both are made with mode 0600 in a
folder of mode 0700, and replaced in one step.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from voicelink.bounded import read_bounded
from voicelink.errors import ConfigError
from voicelink.secure.identity import Identity
from voicelink.secure.noise import KEY_BYTES

IDENTITY_FILE: Final = "identity.key"
PEERS_FILE: Final = "known_peers"
MAX_PEERS: Final = 10_000
MAX_FILE_BYTES: Final = 4 << 20
_IDENTITY_HEAD: Final = "voicelink private key, keep it secret: "


def default_folder() -> Path:
    """Where keys lie unless settings say otherwise: $XDG_CONFIG_HOME/voicelink, or ~/.config/voicelink."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.config").expanduser()) / "voicelink"


class KeyStore:
    """The keys in one folder, which is made where there is none. All errors are ConfigError, one line each."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def identity(self) -> Identity:
        """Our key, made on first use."""
        path = self.folder / IDENTITY_FILE
        if not path.exists():
            identity = Identity.generate(os.urandom)
            text = base64.b64encode(identity.private).decode()
            _make(path, f"{_IDENTITY_HEAD}{text}\n")
        return Identity(_read_identity(path))

    def known(self) -> dict[str, bytes]:
        """The public keys of peers by label (as `Credentials.known`)."""
        path = self.folder / PEERS_FILE
        known = {}
        for number, line in enumerate(_read(path).splitlines(), 1) if path.exists() else ():
            text, _, label = line.partition(" ")
            key = _decode(text)
            if key is None or not label or not label.isprintable():
                raise ConfigError(f"{path}, line {number}: not a key and a name; correct it or delete the line")
            known[label] = key
        return known

    def remember(self, label: str, public: bytes) -> None:
        """Know `label` by this key from now on."""
        known = self.known()
        if known.get(label) != public:
            while len(known) >= MAX_PEERS:
                del known[next(iter(known))]
            self._write_known(known | {label: public})

    def forget(self, label: str) -> None:
        """Know `label` no longer. Raises ConfigError where it is unknown."""
        known = self.known()
        if label not in known:
            raise ConfigError(f"no key of {label!r} is known; `voicelink keys` lists those that are")
        del known[label]
        self._write_known(known)

    def _write_known(self, known: dict[str, bytes]) -> None:
        lines = [f"{base64.b64encode(key).decode()} {label}\n" for label, key in known.items()]
        _replace(self.folder / PEERS_FILE, "".join(lines))


def _read_identity(path: Path) -> bytes:
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"{path} can be read by others; after `chmod 600 {path}`, and if nobody has, use it again")
    key = _decode(_read(path).removeprefix(_IDENTITY_HEAD).strip())
    if key is None:
        raise ConfigError(f"{path} holds no private key; move it away, and a new one is made")
    return key


def _decode(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _read(path: Path) -> str:
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
        if data is None:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, hence no file of ours")
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text, hence no file of ours") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None


def _replace(path: Path, text: str) -> None:
    """Write `text` beside `path` (mode 0600, as mkstemp makes it), then put it in its place."""
    with _told(path):
        handle, name = _beside(path)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _make(path: Path, text: str) -> None:
    """As `_replace`, but what another process made meanwhile stays."""
    with _told(path):
        handle, name = _beside(path)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            Path(name).unlink(missing_ok=True)


def _beside(path: Path) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"cannot write {path}: {error.strerror or error}; choose another folder with --keys"
        raise ConfigError(text) from None
