"""What an agent does about containers, with a driver that fails in ways that nobody foresaw."""

import asyncio
from pathlib import Path
from typing import Any, cast

from colchis_agent.cgroups import NoCgroups
from colchis_agent.core import events as e
from colchis_agent.driver import ContainerRef, LaunchSpec, ProcessDriver
from colchis_agent.service.drive import Drive

REF = ContainerRef("app/web/0", 1)


class Unlucky:
    """A driver none of whose calls does what it should."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise RuntimeError(f"no luck with {name}")

        return fail


def test_an_unforeseen_error_is_not_kept_quiet(tmp_path: Path) -> None:
    async def main() -> None:
        told: asyncio.Queue[BaseException] = asyncio.Queue()
        drive = Drive(
            cast(ProcessDriver, Unlucky()),
            NoCgroups(tmp_path),
            cast(Any, None),
            lambda _: LaunchSpec(REF, ("true",)),
            lambda _: None,
            told.put_nowait,
        )
        for instruction in (e.Watch(REF), e.Terminate(REF), e.Freeze(REF, 1)):
            assert drive.obey(instruction)
            assert "no luck with" in str(await told.get())
        await drive.close()
        assert told.empty()

    asyncio.run(main())
