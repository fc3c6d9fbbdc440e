"""The server's log: one JSON object a line, or plain lines; on standard error.

Who the clients are is not in it unless asked for: fields that tell it are left out, and what looks like an address in a
text is blotted out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from ipaddress import ip_address
from typing import Any, Final

#: What may be an address in a text, an IPv6 one perhaps in brackets.
_PERHAPS: Final = re.compile(r"\[?([0-9a-fA-F:.]{3,})\]?")


def set_up_logging(*, as_json: bool, verbose: bool, addresses: bool) -> None:
    """Logs of this process from now on; `addresses` shows who the clients are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json, addresses=addresses))
    logging.getLogger().handlers[:] = [handler]
    for name in ("voicelink", "voicelink.server"):
        logging.getLogger(name).setLevel("DEBUG" if verbose else "INFO" if name == "voicelink.server" else "WARNING")


def redact(text: str) -> str:
    """`text` without addresses."""
    return _PERHAPS.sub(_blotted, text)


def _blotted(found: re.Match[str]) -> str:
    text, after = found[1], ""
    if "::" not in text and "." in text and ":" in text:  # an IPv4 address and a port
        text, _, after = text.partition(":")
        after = f":{after}"
    try:
        ip_address(text.rstrip(".:") if "::" not in text else text)
    except ValueError:
        return found[0]
    return f"(address){after}"


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
