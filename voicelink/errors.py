"""Every error a user of voicelink can meet. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class VoicelinkError(Exception):
    """Base of all errors that voicelink raises on purpose.

    `exit_code` is what the command line returns for it: 2 for bad usage or bad input, 1 for a failure
    at run time.
    """

    exit_code = 2


class ConfigError(VoicelinkError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class PacketError(VoicelinkError):
    """Bytes that are not a well-formed packet. Never leaves `handle_datagram`."""


class ControlError(VoicelinkError):
    """A control message that is malformed or over a limit. Never leaves `handle_datagram`."""


class LocalProtocolError(VoicelinkError):
    """Our own caller used the API in a way the state does not allow."""


class WeightsError(VoicelinkError):
    """Model files that are missing, damaged, or do not match this code."""


class AudioError(VoicelinkError):
    """An audio file, a device or a coded speech file that cannot be used."""


class CallError(VoicelinkError):
    """A call that could not be set up or broke off: no answer, refused, no server."""

    exit_code = 1


def first_line(error: Exception, most: int = 160) -> str:
    """What a library's error says, cut to `most` characters, for a message of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]
