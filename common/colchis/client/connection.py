"""Where the master is and how one may speak to it.

A connection file names the API's address and the token: ``colchis up`` and ``colchis keygen``
write it, everything that talks to a master reads it.
"""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs

from colchis.errors import InputError

ENVIRONMENT = "COLCHIS_CONNECTION"


class Connection(msgspec.Struct, frozen=True):
    """``api`` is a URL; ``token`` gives the rights of whoever holds the file.

    ``jobs`` is the address of the job service, with its public key, and ``jobs_key`` the file of
    the secret key to speak to it with; both are empty where there is none.
    """

    api: Annotated[str, msgspec.Meta(pattern=r"^https?://\S+\Z")]
    token: Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z")]
    cluster: str = "colchis"
    jobs: str = ""
    jobs_key: str = ""


def default_path() -> Path:
    """``$COLCHIS_CONNECTION``, else ``connection.json`` in the user's state folder."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    return Path(platformdirs.user_state_dir("colchis")) / "connection.json"


def read_connection(path: Path | None = None) -> Connection:
    """Raises InputError, saying how to get one, where there is no readable connection file."""
    path = path or default_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Connection)
    except FileNotFoundError:
        raise InputError.of(
            "there is no such connection file; start a cluster with `colchis up`, "
            f"or name a file with --connection or {ENVIRONMENT}",
            file=str(path),
        ) from None
    except OSError as error:
        raise InputError.of(error.strerror or str(error), file=str(path)) from None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError.of(f"no connection file: {error}", file=str(path)) from None


def write_connection(path: Path, connection: Connection) -> None:
    """Write it so that none but its owner can read it, and nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(connection), indent=2) + b"\n")
    new.replace(path)
