"""CURVE key pairs in files, and the list of keys that may speak.

A key is 40 characters of Z85 (ZeroMQ RFC 32). The secret key lies in ``NAME.key``, readable by its
owner alone; the public one beside it in ``NAME.pub``, which may be handed to anybody.

A list of allowed keys is a folder of ``.pub`` files, where the path of a file in it without its
ending is the identity (``n1.pub``, ``executor/app.pub``), or one file with a line ``IDENTITY KEY``
for each. A name may have several keys, so that keys can be replaced without a pause; a key has one
name.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import zmq

from colchis.errors import InputError, Problem

KEY_LENGTH = 40
_Z85 = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)
_WANTED = f"a key is {KEY_LENGTH} characters of Z85, as `colchis keygen` writes it"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and its secret; the secret is left out of its text form."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def generate() -> KeyPair:
    """A new pair from the system's source of randomness."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def is_key(text: str) -> bool:
    """Whether this is a key as it is written in files."""
    return len(text) == KEY_LENGTH and _Z85.issuperset(text)


def write_pair(pair: KeyPair, folder: Path, name: str) -> Path:
    """Write ``NAME.key`` and ``NAME.pub``; returns the former.

    Raises FileExistsError rather than overwrite a secret key.
    """
    secret = folder / f"{name}.key"
    secret.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{pair.secret}\n")
        file.flush()
        os.fsync(file.fileno())
    write_public(pair.public, folder, name)
    return secret


def write_public(public: str, folder: Path, name: str) -> Path:
    """Write ``NAME.pub``, readable by all, in one step; also how a key gets onto a list."""
    path = folder / f"{name}.pub"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(f"{public}\n")
    fresh.chmod(0o644)
    fresh.replace(path)
    return path


def load_pair(file: Path) -> KeyPair:
    """The pair of a ``.key`` file.

    Raises InputError where it is missing, no key, or readable by others than its owner.
    """
    secret = _read_key(file)
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise InputError.of(
            f"a secret key with mode {mode:04o} is open to others; chmod it to 0600", file=str(file)
        )
    return KeyPair(zmq.curve_public(secret.encode()).decode(), secret)


def load_or_generate(folder: Path, name: str) -> KeyPair:
    """The pair ``NAME`` of this folder, made now if it is not there."""
    file = folder / f"{name}.key"
    if not file.exists():
        write_pair(generate(), folder, name)
    return load_pair(file)


def load_public(file: Path) -> str:
    """The key of a ``.pub`` file. Raises InputError where it is missing or no key."""
    return _read_key(file)


def load_allowed(path: Path) -> dict[str, str]:
    """Identity by public key, of a folder or a file as described above.

    Raises InputError with every problem.
    """
    if path.is_dir():
        return _load_folder(path)
    return _load_file(path)


class AllowList:
    """The allowed keys of a path, read again when something there has changed.

    From the moment that what is there is malformed until it is mended nobody is admitted, and
    ``problem`` says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._stamp: object = None
        self._identities: dict[str, str] = {}

    def identity(self, public: str) -> str | None:
        """Whose key this is, or None if it is nobody's."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._identities = load_allowed(self.path)
                self.problem = ""
            except InputError as error:
                self._identities = {}
                self.problem = str(error)
        return self._identities.get(public)

    def _stamp_now(self) -> object:
        try:
            files = sorted(self.path.rglob("*.pub")) if self.path.is_dir() else [self.path]
            stats = [(file, file.stat()) for file in files]
        except OSError as error:
            return error.errno
        return [(file, stat.st_ino, stat.st_mtime_ns, stat.st_size) for file, stat in stats]


def _read_key(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(f"no key can be read: {error}", file=str(file)) from None
    if not is_key(text):
        raise InputError.of(_WANTED, file=str(file))
    return text


def _load_folder(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for file in sorted(folder.rglob("*.pub")):
        if file.name.startswith("."):
            continue
        identity = file.relative_to(folder).as_posix().removesuffix(".pub")
        try:
            key = _read_key(file)
        except InputError as error:
            problems += error.problems
            continue
        _enter(found, key, identity, Problem(str(file), 0, 0, "", ""), problems)
    if problems:
        raise InputError(problems)
    return found


def _load_file(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the list of allowed keys cannot be read: {error}"
        raise InputError.of(message, file=str(file)) from None
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] == "#":
            continue
        if len(words) != 2 or not is_key(words[1]):
            message = f"write an identity, a space and a key; {_WANTED}"
            problems.append(Problem(str(file), number, 1, "", message))
            continue
        _enter(found, words[1], words[0], Problem(str(file), number, 1, "", ""), problems)
    if problems:
        raise InputError(problems)
    return found


def _enter(
    found: dict[str, str], key: str, identity: str, place: Problem, problems: list[Problem]
) -> None:
    other = found.setdefault(key, identity)
    if other != identity:
        message = f"{identity} has the key of {other}; each needs a key of its own"
        problems.append(Problem(place.file, place.line, place.column, "", message))
