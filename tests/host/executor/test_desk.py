"""The job service as the master runs it."""

import asyncio
import time
from pathlib import Path

import pytest

import colchis.jobs
from colchis_master.jobs.desk import JobDesk, NoSuchJobError
from tests.support import wait_for


def test_master_lists_and_cancels_jobs_and_keeps_the_service_running(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/jobs"

    async def main() -> None:
        async with JobDesk({"clients": address}, tmp_path) as desk:
            assert await desk.ask("list", timeout=60) == {"jobs": []}
            with pytest.raises(NoSuchJobError, match="no job nothing"):
                await desk.ask("status", "nothing")
            client = await asyncio.to_thread(colchis.jobs.connect, address)
            future = client.submit(abs, -1)
            while not (found := await desk.ask("list"))["jobs"]:
                await asyncio.sleep(0.02)
            assert found["jobs"][0]["name"] == "abs"
            assert abs(found["jobs"][0]["submitted"] - time.time()) < 600
            assert found["jobs"][0]["counts"] == {"pending": 1}
            job = found["jobs"][0]["job"]
            assert (await desk.ask("tasks", job))["tasks"][0]["state"] == "pending"
            assert (await desk.ask("status", job))["state"] == "running"
            told = (await desk.ask("story", f"{job}/s0/0"))["story"]
            assert told[0]["text"].startswith("submitted: ") and told[0]["time"] > 1e9
            with pytest.raises(NoSuchJobError, match="nothing is known of x/s0/0"):
                await desk.ask("story", "x/s0/0")
            await desk.ask("cancel", job)
            await asyncio.to_thread(wait_for, future.done)
            assert future.cancelled()
            await asyncio.to_thread(client.close)

    asyncio.run(main())
    assert (tmp_path / "jobs.json").stat().st_mode & 0o077 == 0
