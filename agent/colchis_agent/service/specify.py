"""What a container is started with: its environment, limits, user and private files."""

import sys
from pathlib import Path

import msgspec

from colchis_agent.cgroups import Limits
from colchis_agent.core.events import Launch
from colchis_agent.driver import LaunchSpec
from colchis_agent.driver.process import DEFAULT_PATH
from colchis_agent.service.sampling import status_file
from colchis_agent.service.settings import AgentSettings
from colchis_agent.service.state import State

EXECUTOR = "colchis-executor"
"""The command of an executor that its spec says no more about: the agent configures it."""


class Specifier:
    """``address`` is where the node's containers are reached."""

    def __init__(self, settings: AgentSettings, address: str, state: State) -> None:
        self._settings = settings
        self._address = address
        self._state = state

    def specify(self, launch: Launch) -> LaunchSpec:
        """Writes the files that the container needs; raises StateError where it cannot."""
        start, settings = launch.start, self._settings
        uid, gid = settings.ids()
        cpus, memory = start.resources.get("cpus", 0), start.resources.get("memory", 0)
        command = tuple(start.command)
        if start.executor and command == (EXECUTOR,):
            command = self._executor(launch, uid)
        return LaunchSpec(
            ref=launch.ref,
            command=command,
            env=self._environment(launch, uid),
            limits=Limits(
                cpus=cpus / 1000 if cpus else None,
                memory_bytes=memory or None,
                pids=start.resources.get("pids") or settings.pids,
            ),
            uid=uid,
            gid=gid,
            delegate=start.executor,
            log_bytes=settings.log_bytes,
            log_files=settings.log_files,
        )

    def _environment(self, launch: Launch, uid: int | None) -> dict[str, str]:
        start = launch.start
        app, group, index = (*start.container.split("/"), "", "")[:3]
        env = {
            # ``python`` is the agent's own, so that what it has installed is there.
            "PATH": f"{Path(sys.executable).parent}:{DEFAULT_PATH}",
            **start.env,
            "COLCHIS_CONTAINER": start.container,
            "COLCHIS_APP": app,
            "COLCHIS_GROUP": group,
            "COLCHIS_INDEX": index,
            "COLCHIS_HOST": self._address,
            "COLCHIS_NODE": self._settings.node,
        }
        if launch.port is not None:
            env["COLCHIS_PORT"] = str(launch.port)
        if launch.api:
            env["COLCHIS_API"] = launch.api
        if start.token:
            token = self._state.write_private(launch.ref, "token", start.token, uid)
            env["COLCHIS_TOKEN_FILE"] = str(token)
        if start.executor:
            status = status_file(self._state.containers, launch.ref)
            env["COLCHIS_STATUS_FILE"] = str(status)
        elif start.jobs is not None:
            key = self._state.write_private(launch.ref, "jobs.key", start.jobs.key, uid)
            env["COLCHIS_JOBS"] = start.jobs.address
            env["COLCHIS_JOBS_KEY"] = str(key)
        return env

    def _executor(self, launch: Launch, uid: int | None) -> tuple[str, ...]:
        """The command that runs an executor with the configuration of this container."""
        start = launch.start
        work = status_file(self._state.containers, launch.ref).parent / "tasks"
        config: dict[str, object] = {
            "executor": start.container,
            "node": self._settings.node,
            "cores": max(1, start.resources.get("cpus", 0) // 1000),
            "memory": start.resources.get("memory") or self._settings.capacity()["memory"],
            "service": "",
            "work": str(work),
            "bind": f"tcp://{self._address}:{launch.port or '*'}",
            "host": self._address,
        }
        if start.jobs is not None:
            peers = "".join(f"{name} {key}\n" for name, key in start.jobs.peers.items())
            private = self._state.write_private
            config["service"] = start.jobs.address
            config["key"] = str(private(launch.ref, "executor.key", start.jobs.key, uid))
            config["allowed"] = str(private(launch.ref, "executor.allowed", peers, uid))
        text = msgspec.json.encode(config).decode()
        file = self._state.write_private(launch.ref, "executor.json", text, uid)
        return (sys.executable, "-m", "colchis_agent.executor", str(file))
