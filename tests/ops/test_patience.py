"""What a database that is busy costs whoever asks it: another attempt."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ops import serve
from ops.serve import patiently


def test_a_busy_database_is_asked_again_and_a_wrong_question_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists heard an outcome while somebody wrote, and the process with all readers ended."""
    monkeypatch.setattr(serve, "AGAIN_SECONDS", 0.01)
    asked: list[str] = []

    async def run() -> None:
        with (
            closing(sqlite3.connect(tmp_path / "x.db", timeout=0)) as mine,
            closing(sqlite3.connect(tmp_path / "x.db")) as other,
        ):
            other.execute("begin immediate")

            async def write(statement: str) -> None:
                asked.append(statement)
                if len(asked) == 3:
                    other.rollback()
                mine.execute(statement)

            await patiently(lambda: write("begin immediate"), asyncio.Event())
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                await patiently(lambda: write("select * from none_such"), asyncio.Event())

    asyncio.run(run())
    assert len(asked) == 4
