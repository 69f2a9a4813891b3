"""The benchmarks with a deployment of their own, small: they run, say what they should, and leave nothing behind."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ops.bench import Asked, Measure, catching_up, path


class Heard:
    """What a person and a program are told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tables: dict[str, list[Sequence[object]]] = {}
        self.documents: list[Mapping[str, Any]] = []

    def progress(self, text: str) -> None:
        self.said.append(text)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.tables[title] = list(rows)
        assert {len(row) for row in self.tables[title]} == {len(columns)}

    def document(self, found: Mapping[str, Any]) -> None:
        self.documents.append(found)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("IDLE_SECONDS", 1.0), ("SETTLE_SECONDS", 0.0), ("WARMING_SECONDS", 0.5), ("WARM_UP", (50.0, 1.0))):
        monkeypatch.setattr(path, name, value)
    monkeypatch.setattr(catching_up, "EVENTS", 4_000)
    # Homes of the benchmarks go there, so whose command line names it is theirs.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def still_running(folder: Path) -> list[str]:
    """The command lines and environments of processes that know of a home in the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                if f"{folder}/spaceos-bench-".encode() in told:
                    found.append(told.decode(errors="replace")[:200])
    return found


async def all_of(measures: Any) -> list[Measure]:
    return [measure async for measure in measures]


@pytest.mark.parametrize("postgresql", [False, True], ids=["SQLite", "PostgreSQL"])
def test_the_path_is_measured_with_dummies_stage_by_stage(postgresql: bool, tmp_path: Path) -> None:
    heard = Heard()
    asked = Asked(readers=30, contexts=13, rates=(40.0,), seconds=3.0, workers=2, postgresql=postgresql)

    measures = asyncio.run(all_of(path.measured(asked, heard)))

    start, idle, rate = heard.documents
    assert (start["readers"], start["contexts"]) == (30, 13)
    assert start["claimed_seconds"] > 0
    assert {"worker-1", "worker-2", "broker", *(["database"] if postgresql else [])} <= idle["cpu_percent"].keys()
    assert all(each["pss"] > 1 for each in idle["memory_mb"].values())
    assert (rate["commands"], rate["unseen"], rate["restarts"]) == (120, 0, 0)
    assert rate["samples"] == 60
    assert 0 < rate["stages"]["log"]["p50"] <= rate["whole"]["p50"] <= rate["whole"]["p99"] <= rate["slowest_ms"]
    assert rate["cpu_ms"].keys() == idle["cpu_percent"].keys()
    assert rate["generator_cpu_ms"] > 0
    assert measures
    assert still_running(tmp_path) == []


def test_what_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    """Also Ctrl-C in the middle of a rate: broker, processes, generator and observer end, and the home is gone."""
    heard = Heard()

    async def interrupted() -> None:
        task = asyncio.create_task(all_of(path.measured(Asked(rates=(40.0,), seconds=60.0), heard)))
        while not any("40 commands a second" in text for text in heard.said):
            assert not task.done(), task.exception()
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert still_running(tmp_path)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())

    assert still_running(tmp_path) == []
    assert list(tmp_path.glob("spaceos-bench-*")) == []


def test_readers_catch_up_together_and_one_alone(tmp_path: Path) -> None:
    heard = Heard()

    measures = asyncio.run(all_of(catching_up.measured(Asked(), heard)))

    assert [document.get("readers") for document in heard.documents] == [10, 1, None]
    assert all(document["events_a_second"] > 0 for document in heard.documents)
    assert len(measures) == 2
    assert still_running(tmp_path) == []
