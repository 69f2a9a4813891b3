"""All chance in the tests: none by default, so that every run is the same; else it follows from what `--hypothesis-seed` says.

`--hypothesis-seed=new`, which is what `make fuzz` says, and SPACEOS_E2E=long draw one and print it.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import engine, providers

from tests.house.sources import LAYERS, import_all

OURS = settings(
    # Explaining a failure traces every line of it, a minute for an example with a database behind it.
    phases=[phase for phase in Phase if phase is not Phase.explain],
    # How long an example takes, or is looked for, says how busy the machine is.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # What an earlier run found is kept as a test, not in a folder that a newcomer does not have.
    database=None,
)
SHRINKING_SHARE = 4
"""How much of a test's time-out shrinking may take. A time-out is one more failure to Hypothesis, which would shrink on."""
FIXED = 1

_drawn: int | None = None


def seeds(count: int) -> list[int]:
    """For tests that are parametrised with chance: always the same ones, or new ones."""
    if _drawn is None:
        return list(range(count))
    return random.Random(_drawn).sample(range(10**6), count)


def seed() -> int:
    """For a test that draws for itself."""
    return FIXED if _drawn is None else _drawn


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before Hypothesis reads its seed, and before xdist tells its workers the options, that all have the same."""
    global _drawn
    if config.option.hypothesis_seed == "new" or (config.option.hypothesis_seed is None and _is_long()):
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(10**6))
    if config.option.hypothesis_seed is not None:
        _drawn = int(config.option.hypothesis_seed)
        # A seed's examples also follow from the constants in whatever was imported of ours: all of it, whichever tests run.
        import_all(*LAYERS)
        settings.register_profile("searching", OURS)
        settings.load_profile("searching")
    else:
        providers._get_local_constants = lambda: providers._local_constants
        settings.register_profile("same", OURS, derandomize=True)
        settings.load_profile("same")
    seconds = config.getoption("timeout") or float(config.getini("timeout") or 0)
    if seconds:
        engine.MAX_SHRINKING_SECONDS = seconds / SHRINKING_SHARE  # type: ignore[assignment]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Said first: a run that is stopped would not come to its end."""
    said = session.config.pluginmanager.get_plugin("terminalreporter")
    if _drawn is not None and said is not None:
        said.write_line(f"By chance: --hypothesis-seed={_drawn} repeats it. What it finds becomes an @example or a test.")


def _is_long() -> bool:
    return os.environ.get("SPACEOS_E2E") == "long"
