"""`voicelink keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicelink.commands.common import Common, command


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "keys", "voicelink keys --forget bob@192.0.2.1:47600")(keys)


def keys(
    common: Common,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Give up the key known under NAME (as listed), for a new one.")
    ] = None,
    folder: Annotated[
        str | None, typer.Option("--keys", metavar="DIR", help="Folder of keys (default ~/.config/voicelink).")
    ] = None,
) -> None:
    """Our own key and the keys of those we know, as fingerprints to compare by telephone or in person.

    A peer's key is remembered at the first call. A call in which the same name shows another key is refused.
    """
    from voicelink.keystore import KeyStore  # noqa: PLC0415
    from voicelink.secure.identity import fingerprint  # noqa: PLC0415

    settings = common.settings({"keys.folder": folder}).keys
    store = KeyStore(Path(settings.folder).expanduser() if settings.folder else None)
    if forget is not None:
        store.forget(forget)
    own, known = fingerprint(store.identity().public), store.known()
    rows = [{"name": label, "key": fingerprint(key)} for label, key in known.items()]
    lines = [f"{own}  our own key, in {store.folder}", *(f"{row['key']}  {row['name']}" for row in rows)]
    common.result({"folder": str(store.folder), "own": own, "known": rows}, lines)
