"""Who may use the API: tokens, compared in constant time."""

import enum
import hmac
import os
import secrets
from pathlib import Path

from colchis.errors import InputError


class Right(enum.IntEnum):
    """What a token allows; each right includes those before it."""

    LOOKUP = 1
    """Look up the endpoints of apps: what containers are given."""
    ADMIN = 2
    """Everything."""


class Tokens:
    """The tokens of one master."""

    def __init__(self, *, admin: str, lookup: str) -> None:
        self._admin = admin.encode()
        self._lookup = lookup.encode()

    def right(self, token: str) -> Right | None:
        """What this token allows, None if nothing; an empty one allows nothing."""
        given = token.encode()
        if not given:
            return None
        if hmac.compare_digest(given, self._admin):
            return Right.ADMIN
        if hmac.compare_digest(given, self._lookup):
            return Right.LOOKUP
        return None


def load_or_create(file: Path) -> str:
    """The token in this file, which is made, readable by its owner alone, if it is not there.

    Raises InputError where the file is open to others or holds no token.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as made:
            made.write(secrets.token_urlsafe(32) + "\n")
    if file.stat().st_mode & 0o077:
        raise InputError.of("a token that others may read; chmod it to 0600", file=str(file))
    token = file.read_text().strip()
    if len(token) < 32:
        raise InputError.of("no token: fewer than 32 characters", file=str(file))
    return token
