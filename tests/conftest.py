"""The fixtures of all tests, by subject: one plugin file each in `tests/fixtures`."""

import signal

from hypothesis import HealthCheck, settings

# What a shell starts with `&` ignores Ctrl-C and hands that on to its children: the tests that send
# it would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that does something else for a second makes no law wrong. What of it holds in CI (the
# same examples at each run) stays.
settings.register_profile(
    "spot", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("spot")

pytest_plugins = [
    "tests.fixtures.coinbase",
    "tests.fixtures.rest_exchange",
    "tests.fixtures.exchange",
    "tests.fixtures.gcloud",
    "tests.fixtures.deploy_modes",
    "tests.fixtures.markers",
    "tests.fixtures.postgres",
    "tests.fixtures.processes",
    "tests.fixtures.proxy",
    "tests.fixtures.chaos_server",
    "tests.fixtures.chaos_log",
    "tests.fixtures.chaos",
    "tests.fixtures.store",
    "tests.fixtures.timescale",
    # After the store, whose module it imports.
    "tests.fixtures.gateway",
]
