"""The tests are the same each time, until somebody asks for new examples."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT

PROPERTY = """
import time
import pytest
{more}
from hypothesis import given, strategies as st
from tests.chance import seed, seeds

@given(st.integers(), st.text())
def test_drawn(number, text):
    print("drawn", number, ascii(text))

def test_seeds():
    print("drawn", seed(), seeds(3))
"""
FAILS_SLOWLY = """
import time
from hypothesis import given, strategies as st

@given(st.lists(st.integers(), min_size=30))
def test_slow(numbers):
    time.sleep(0.1)
    assert len(set(numbers)) < 20 or sum(numbers) < 10**6
"""


def ran(folder: Path, source: str, *options: str, **environment: str) -> str:
    """What pytest says of one file of tests with our chance, in a process of its own."""
    (folder / "test_one.py").write_text(source)
    ours = {"PYTHONPATH": str(ROOT), "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"), "SPACEOS_E2E": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider", "-p", "tests.chance",
         "-sq", "test_one.py", *options],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **ours, **environment},
    )  # fmt: skip
    return done.stdout


def drawn(said: str) -> list[str]:
    found = [line for line in said.splitlines() if "drawn" in line]
    assert len(found) > 100, said
    return found


def test_examples_are_the_same_each_time_whatever_was_imported_before(tmp_path: Path) -> None:
    """Hypothesis draws constants out of whatever module of ours is imported, so one test alone would try other examples."""
    assert drawn(ran(tmp_path, PROPERTY.format(more=""))) == drawn(ran(tmp_path, PROPERTY.format(more="import ops.checker")))


def test_new_examples_have_a_seed_that_is_printed_and_repeats_them(tmp_path: Path) -> None:
    said = ran(tmp_path, PROPERTY.format(more=""), "--hypothesis-seed=new")

    shown = re.search(r"--hypothesis-seed=\d+", said)
    assert shown, said
    assert drawn(said) == drawn(ran(tmp_path, PROPERTY.format(more="import ops.checker"), shown[0]))


def test_a_long_run_looks_for_new_examples(tmp_path: Path) -> None:
    said = ran(tmp_path, PROPERTY.format(more=""), "-k", "seeds", SPACEOS_E2E="long")

    shown = re.search(r"--hypothesis-seed=(\d+)", said)
    assert shown, said
    assert f"drawn {shown[1]} " in said


def test_shrinking_ends_before_the_time_out(tmp_path: Path) -> None:
    """A time-out while a fault was made smaller was another fault to Hypothesis, which went on with that for 21 minutes."""
    said = ran(tmp_path, FAILS_SLOWLY, "--timeout", "8")

    assert "assert (" in said
    assert "Timeout" not in said
