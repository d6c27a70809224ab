"""Asks the chief how training goes: steps taken, loss, accuracy."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tf_discovery import Lookup
from tf_wire import Peer, RefusedError, UnreachableError


def format_status(status: dict[str, Any]) -> str:
    """One line for people."""
    if status["loss"] is None:
        return "nothing measured yet"
    return (
        f"step {status['step']:>7}  loss {status['loss']:.4f}"
        f" (at first {status['initial_loss']:.4f})  accuracy {status['accuracy']:.1%}"
    )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True, help="address of the Colchis master's HTTP API")
    parser.add_argument("--token-file", type=Path, help="file with a token for the API")
    parser.add_argument("--app", default="tensorflow", help="name of the application")
    parser.add_argument("--follow", action="store_true", help="go on asking, one line each time")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two questions")
    parser.add_argument("--seconds", type=float, default=0.0, help="end following after so long")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the chief")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_arguments()
    chief = Peer(Lookup(options.api, options.app, options.token_file), "chief")
    deadline = time.monotonic() + options.seconds if options.seconds else float("inf")
    try:
        while True:
            status, _ = chief.call("status", within=options.timeout)
            status.pop("ok", None)
            text = json.dumps(status) if options.output == "json" else format_status(status)
            print(text, flush=True)
            if not options.follow or time.monotonic() >= deadline:
                return 0
            time.sleep(options.interval)
    except (UnreachableError, RefusedError) as error:
        print(f"watch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        chief.close()


if __name__ == "__main__":
    sys.exit(main())
