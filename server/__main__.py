"""`python -m voicelink_server`: the server alone, without the `voicelink` command and what it needs."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from voicelink_server.app import run_server

from voicelink.config import load
from voicelink.errors import VoicelinkError
from voicelink.settings import DEFAULT_PORT


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit code: 0 stopped by a signal, 1 failed at run time, 2 bad settings."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, stream=sys.stderr)
    given = {"server.listen": options.listen, "server.metrics": options.metrics}
    try:
        effective = load(options.config, options={key: value for key, value in given.items() if value is not None})
        run_server(effective.settings.server, json_output=options.json)
    except VoicelinkError as error:
        print(f"voicelink_server: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m voicelink_server",
        description="Rendezvous and relay server for voicelink calls.",
        epilog=f"example: python -m voicelink_server --listen 0.0.0.0:{DEFAULT_PORT} --json",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="UDP address; port 0 takes a free one")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="TCP address of the Prometheus page")
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="settings file, table [server]")
    parser.add_argument("--json", action="store_true", help='say {"listening": "host:port"} at the start')
    parser.add_argument("-v", "--verbose", action="store_true", help="log to stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
