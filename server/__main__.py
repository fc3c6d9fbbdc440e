"""`python -m voicelink_server`: the server alone, without the `voicelink` command and what it needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from voicelink_server.app import run_server
from voicelink_server.logs import set_up_logging

from voicelink.config import load
from voicelink.errors import VoicelinkError
from voicelink.settings import DEFAULT_PORT


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit code: 0 stopped by a signal, 1 failed at run time, 2 bad settings."""
    options = _parser().parse_args(arguments)
    given = {
        "server.listen": options.listen,
        "server.metrics": options.metrics,
        "server.workers": options.workers,
        "server.log_addresses": options.log_addresses or None,
    }
    try:
        effective = load(options.config, options={key: value for key, value in given.items() if value is not None})
        settings = effective.settings.server
        set_up_logging(as_json=options.log_json, verbose=options.verbose, addresses=settings.log_addresses)
        run_server(settings, json_output=options.json)
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
    parser.add_argument("--workers", metavar="N", type=int, help="processes that relay; 0: one a core (default)")
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="settings file, table [server]")
    parser.add_argument("--json", action="store_true", help='say {"listening": "host:port"} at the start')
    parser.add_argument("--log-json", action="store_true", help="the log as JSON lines")
    parser.add_argument("--log-addresses", action="store_true", help="names and addresses of clients in the log")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
