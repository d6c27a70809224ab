"""What the daemons of one machine are kept together by: signals and ports."""

import os
import signal
import socket

import pytest

from colchis.cli.local import free_ports
from colchis.cli.stopping import Stopping


def test_a_signal_ends_the_waiting_and_is_remembered() -> None:
    former = signal.getsignal(signal.SIGUSR1)
    with Stopping(signal.SIGUSR1) as stopping:
        assert not stopping.wait(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stopping.wait(600)
        assert stopping.told
        assert stopping.wait(600)
    assert signal.getsignal(signal.SIGUSR1) is former


def test_signals_at_any_moment_do_no_harm() -> None:
    """They come before, in and after each wait; each wait ends."""
    with Stopping(signal.SIGALRM):
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            for _ in range(3000):
                with Stopping(signal.SIGALRM) as stopping:
                    while not stopping.wait(600):
                        pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_ports_are_kept_for_those_who_were_told_them() -> None:
    with free_ports(2) as (port, other):
        assert port != other
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for _ in range(2):
            with listening(port) as server, socket.create_connection(("127.0.0.1", port)) as one:
                server.accept()[0].close()
                assert one.recv(1) == b""
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
    with listening(port):
        pass
