"""Property tests judge results, not how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "capsule", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("capsule")
