"""The option that says which master a verb speaks to."""

from pathlib import Path
from typing import Annotated

import typer

from colchis.client.connection import read_connection
from colchis.client.http import Client

ConnectionOption = Annotated[
    Path | None,
    typer.Option(
        "--connection",
        envvar="COLCHIS_CONNECTION",
        help="Connection file of the cluster, as `colchis up` writes it.",
    ),
]


def client(path: Path | None) -> Client:
    """A client of the master that the connection file names."""
    return Client(read_connection(path))
