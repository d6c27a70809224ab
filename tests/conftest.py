"""Settings that every tier shares."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "colchis",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("colchis")

# Started in the background of a shell, a process ignores SIGINT, and so would all its children;
# tests send it to programs as Ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)
