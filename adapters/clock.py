"""What time it is. A demonstration lives through days in a minute: its clock is the machine's, shifted by what a file says.

Unless somebody says `use`, it is the machine's clock.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

_file: Path | None = None


def use(path: Path | None) -> None:
    """From now on this process's clock is shifted by the seconds that the file holds; they may change."""
    global _file
    _file = path


def now() -> datetime:
    """In UTC."""
    return datetime.now(UTC) + shift()


def shift() -> timedelta:
    """By how much the clock differs from the machine's."""
    if _file is None or not _file.exists():
        return timedelta()
    return timedelta(seconds=int(_file.read_text(encoding="ascii")))


def set_shift(path: Path, by: timedelta) -> None:
    """Move the clock of every process that looks at this file. Time must not go back: decisions would wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_text(str(int(by.total_seconds())), encoding="ascii")
    written.replace(path)
