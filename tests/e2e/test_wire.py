"""Whatever a stranger puts on the topics: no process ends, and each genuine record is decided, published, folded and logged."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import LONG, PARTITIONS, Deployment, Running, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not LONG, reason="takes many minutes: SPACEOS_E2E=long"),
]

RECORDS = 10_000
MORE_MB = 96
"""What a process may take more at its peak than before the first stranger."""


def peak_mb(running: Running) -> float:
    lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def test_no_stranger_stops_or_fills_a_process_or_hides_a_genuine_record(deployment: Deployment, seed: int) -> None:
    parts = [deployment.start("worker", "--slot", "1"), deployment.start("projector"), deployment.start("auditor")]
    deployment.finish(deployment.client(seed, "--count", "200", "--rate", "100", begin=True))
    until(lambda: deployment.quiet(deployment.all_readers()), "quiet before the strangers")
    before = [peak_mb(part) for part in parts]

    client = deployment.client(seed + 1, "--count", "100000", "--rate", "40")
    options = ["--kafka", deployment.kafka, "--seed", str(seed), "--count", str(RECORDS), "--partitions", str(PARTITIONS)]
    # A program of its own: it wants aiokafka's builder in Python.
    stranger = [sys.executable, "-m", "tests.e2e.strange", *options]
    subprocess.run(stranger, env=deployment.environment(), check=True, timeout=600)
    client.signal(signal.SIGTERM)
    deployment.finish(client)
    deployment.finish(deployment.client(seed + 2, "--count", "200", "--rate", "100"))
    until(lambda: deployment.quiet(deployment.all_readers()), "all that was decided is in every view", 120)
    until(deployment.audited, "the audit log is whole", 120)

    assert [part.said() for part in parts if part.ended] == []
    assert [round(peak_mb(part) - mb) for part, mb in zip(parts, before, strict=True) if peak_mb(part) - mb > MORE_MB] == []
    verdict = deployment.audit()
    assert verdict["ok"], verdict
