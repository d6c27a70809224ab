"""Jobs: run functions on the executors of a cluster, or of this machine.

>>> import colchis.jobs
>>> with colchis.jobs.connect("local", cores=2) as cluster:
...     cluster.submit(pow, 2, 10).result()
1024
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colchis.jobs.client import Client


def connect(
    address: str | None = None,
    *,
    executors: int = 1,
    cores: int = 2,
    priority: str | int = "batch",
    retries: int = 0,
    timeout: float = 60.0,
    key: str | None = None,
    **settings: Any,
) -> "Client":
    """Connect to a job service; the result is a ``concurrent.futures.Executor``.

    ``address`` is where the service listens to clients, by default what the environment's
    ``COLCHIS_JOBS`` says, or else the connection file of the cluster; ``key`` is the file of our
    CURVE key (default: ``COLCHIS_JOBS_KEY``, or as the connection file says), needed where the
    address ends in that of the service, ``|KEY``. ``"local"`` starts a service
    and so many ``executors`` with so many ``cores`` each on this machine, which end with the
    client; ``settings`` are then those of
    ``colchis.jobs.local.LocalCluster`` (``policy``, ``memory``, ``options``, ...). Raises
    ColchisError where nobody answers within ``timeout`` seconds.
    """
    import os

    from colchis.errors import InputError
    from colchis.jobs.client import Client

    chosen = address or os.environ.get("COLCHIS_JOBS", "")
    if key is None:
        key = os.environ.get("COLCHIS_JOBS_KEY", "")
    if not chosen:
        from colchis.client.connection import read_connection

        found = read_connection()
        chosen, key = found.jobs, key or found.jobs_key
        if not chosen:
            raise InputError.of("this cluster's master runs no job service", field="address")
    if chosen != "local":
        if settings:
            wrong = ", ".join(sorted(settings))
            raise InputError.of(f"only for local clusters: {wrong}", field="settings")
        from colchis.jobs.secure import sockets_for

        sockets = sockets_for(key)
        return Client(chosen, priority=priority, retries=retries, timeout=timeout, sockets=sockets)
    from colchis.jobs.local import connect_local

    return connect_local(
        executors=executors,
        cores=cores,
        priority=priority,
        retries=retries,
        timeout=timeout,
        settings=settings,
    )


__all__ = ["connect"]
