"""Settings that every tier shares."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "colchis",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("colchis")
