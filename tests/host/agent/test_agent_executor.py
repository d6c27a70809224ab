"""An executor as a container: the agent configures it and it asks the job service for work."""

import asyncio
from pathlib import Path

import zmq
import zmq.asyncio

from colchis.jobs.secure import CurveSockets
from colchis.wire.keys import generate, write_public
from colchis.wire.messages import JobAccess
from tests.host.agent.fake_master import AgentProcess, FakeMaster
from tests.support import DEADLINE

NAME = "pool/workers/0"


def test_an_executor_reaches_the_job_service(tmp_path: Path) -> None:
    async def run() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        executor = generate()
        write_public(executor.public, tmp_path / "allowed-jobs", "executor/pool")
        sockets = CurveSockets(generate(), tmp_path / "allowed-jobs")
        service = sockets.server(context)
        port = service.bind_to_random_port("tcp://127.0.0.1")
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            try:
                agent.start()
                await master.until(lambda: bool(master.beats()))
                access = JobAccess(f"tcp://127.0.0.1:{port}{sockets.suffix}", executor.secret)
                error = await master.start(NAME, ["colchis-executor"], executor=True, jobs=access)
                assert error == ""
                ready = await asyncio.to_thread(service.poll, int(DEADLINE * 1000))
                assert ready, (await master.log(NAME)).data
                assert NAME.encode() in b"".join(service.recv_multipart())
                assert await master.stop(NAME) == ""
            finally:
                agent.clean()
                service.close(0)
                context.term()

    asyncio.run(run())
