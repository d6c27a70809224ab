"""The job service's part of a master: its keys, its settings, how containers reach it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colchis.jobs.secure import CurveSockets
from colchis.wire.keys import KeyPair, load_allowed, load_pair
from colchis.wire.messages import JobAccess
from colchis_master.api.control import ControlError
from colchis_master.jobs.desk import JobDesk, NoSuchJobError
from colchis_master.tasks.options import Options


@dataclass(frozen=True, slots=True)
class Jobs:
    """``address`` is the service's as others reach it, with its public key."""

    listen: str
    address: str
    keys: Path
    policy: str
    options: Options
    pair: KeyPair

    @classmethod
    def load(cls, *, listen: str, public: str, keys: Path, policy: str, options: Options) -> "Jobs":
        """Raises InputError where a key is missing or open to others."""
        pair = load_pair(keys / "jobs.key")
        return cls(listen, f"{public or listen}|{pair.public}", keys, policy, options, pair)

    def executors(self) -> JobAccess:
        """What an executor is given: whoever is on the list may fetch results from it."""
        peers = {name: key for key, name in load_allowed(self.keys / "allowed-jobs").items()}
        return JobAccess(self.address, load_pair(self.keys / "executor.key").secret, peers)

    def clients(self) -> JobAccess:
        """What a container is given that may submit jobs."""
        return JobAccess(self.address, load_pair(self.keys / "client.key").secret)

    def desk(self, folder: Path) -> "Desk":
        """The service itself, as a child, and the way to ask it."""
        config = {
            "clients": self.listen,
            "policy": self.policy,
            "options": asdict(self.options),
            "key": str(self.keys / "jobs.key"),
            "allowed": str(self.keys / "allowed-jobs"),
        }
        reached = self.listen.replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # where, not what
        address = f"{reached}|{self.pair.public}"
        return Desk(JobDesk(config, folder, address=address, sockets=CurveSockets(self.pair)))


@dataclass(frozen=True, slots=True)
class Desk:
    """Asks the job service, and answers as the API does."""

    service: JobDesk

    async def __call__(self, what: str, job: str = "") -> dict[str, Any]:
        """Raises ControlError where there is no such job, or no answer."""
        try:
            found: dict[str, Any] = await self.service.ask(what, job)
        except NoSuchJobError as error:
            raise ControlError(404, str(error)) from None
        except TimeoutError:
            raise ControlError(504, "no answer from the job service") from None
        return found
