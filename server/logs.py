"""The server's log: one JSON object a line, or plain lines; on standard error.

Who the clients are is not in it unless asked for: fields that tell it are left out, and what looks like an address in a
text is blotted out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, Final

#: IPv4 and IPv6 addresses in a text. Times of day and connection ids are none: fewer than two colons in a row.
_ADDRESSES: Final = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\[?\b(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}\]?")


def set_up_logging(*, as_json: bool, verbose: bool, addresses: bool) -> None:
    """Logs of this process from now on; `addresses` shows who the clients are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json, addresses=addresses))
    logging.getLogger().handlers[:] = [handler]
    for name in ("voicelink", "voicelink.server"):
        logging.getLogger(name).setLevel("DEBUG" if verbose else "INFO" if name == "voicelink.server" else "WARNING")


def redact(text: str) -> str:
    """`text` without addresses."""
    return _ADDRESSES.sub("(address)", text)


class _Formatter(logging.Formatter):
    """A record's `fields` (a dict given as `extra`) are shown, those in its `who` where it was asked for."""

    def __init__(self, *, as_json: bool, addresses: bool) -> None:
        super().__init__()
        self._as_json, self._addresses = as_json, addresses

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        if not self._addresses:
            message = redact(message)
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if self._addresses:
            fields |= getattr(record, "who", {})
        if not self._as_json:
            return " ".join([message, *(f"{key}={value}" for key, value in fields.items())])
        entry = {"time": round(record.created, 3), "level": record.levelname.lower(), "logger": record.name}
        return json.dumps(entry | {"message": message, "process": record.process} | fields)
