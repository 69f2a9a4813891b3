"""Command to view, end to end: the demo's own deployment at 1,000 requests a second."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from ops.bench import Measure

REQUESTS = 20_000
RATE = 1_000
P99_MS = 50.0


def measures() -> Iterator[Measure]:
    """p50 and p99 from signing the command to seeing its row, with one worker; ratio is p99 to p50."""
    with TemporaryDirectory() as folder:
        found = _demo(folder)
    p50, p99 = found["latency_ms"]["p50"], found["latency_ms"]["p99"]
    rate = found["commands_per_second"]
    name = f"command to view at {RATE:,}/s ({rate:,.0f}/s reached), p99 / p50"
    met = p99 <= P99_MS if rate >= RATE * 0.95 else None
    yield Measure(name, p99, p50, "ms", round(p99 / p50, 2) if p50 else 0.0, 0.0, f"p99 ≤ {P99_MS:g} ms", met)


def _demo(folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops.cli", "demo", "--json", "--limit", str(REQUESTS), "--rate", str(RATE)]
    done = subprocess.run(
        command, env={**os.environ, "SPACEOS_HOME": folder}, capture_output=True, text=True, check=False
    )  # fmt: skip
    if not done.stdout.strip():
        raise RuntimeError(f"the demo failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
