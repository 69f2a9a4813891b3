"""How every command speaks: answers to standard output, progress and hints to standard error.

With --json an answer is one object on one line, and nothing else is on standard output.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on one line, for programs.")]

_UNSEEN = re.compile("[\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""What a terminal obeys, or what turns the order of the letters round, and JSON does not write as an escape."""
_UNLIKE_TEXT = re.compile(r"[\x00-\x1f]")

# The groups of `spaceos --help`, in the order in which a newcomer needs them.
FIRST_STEPS = "First steps"
NETWORK = "The network"
AUDIT = "Audit and analysis"
SERVERS = "Servers"
CARE = "Care and repair"
PANELS = (FIRST_STEPS, NETWORK, AUDIT, SERVERS, CARE)


class Exit(IntEnum):
    """What a command's exit code says."""

    OK = 0
    FOUND_WRONG = 1
    USAGE = 2
    INCONCLUSIVE = 3
    UNAVAILABLE = 69
    INTERNAL = 70
    INTERRUPTED = 130


class Failure(Exception):
    """Ends a command with an exit code and one or two lines: what is wrong, and what to do next."""

    def __init__(self, problem: str, remedy: str | None = None, *, exit_code: Exit = Exit.FOUND_WRONG) -> None:
        super().__init__(problem)
        self.remedy = remedy
        self.exit_code = exit_code


def answer(document: Mapping[str, Any]) -> None:
    """One object on one line. What JSON does not know (paths, dates, decimals) is written as text."""
    written = json.dumps(document, default=str, separators=(",", ":"), ensure_ascii=False)
    # JSON lets pass what a terminal would obey.
    sys.stdout.write(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", written) + "\n")
    sys.stdout.flush()


def say(text: str, *values: object) -> None:
    """A sentence that answers: a literal, which may hold rich mark-up, and the values for its `{}`.

    Values are shown as they are: whatever a stranger wrote is neither mark-up nor an order to the terminal.
    """
    _print(sys.stdout, text, values)


def hint(text: str, *values: object) -> None:
    """A sentence beside the answer, as `say`."""
    _print(sys.stderr, text, values)


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey, or not show, spelt out."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", _UNLIKE_TEXT.sub(_spelt, text))


def _print(stream: Any, text: str, values: Sequence[object]) -> None:
    # Without emoji: `:key:` in a DID would become a picture of a key.
    _console(stream).print(text.format(*map(_plain, values)) if values else text, highlight=False, soft_wrap=True, emoji=False)


def _plain(value: object) -> object:
    from rich.markup import escape

    if isinstance(value, int | float) and not isinstance(value, IntEnum):
        return value
    return escape(printable(str(value)))


def _spelt(found: re.Match[str]) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0], f"\\x{ord(found[0]):02x}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows of plain values, not mark-up; numbers stand to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [tuple(row) for row in rows]
    drawn = Table(title=Text(printable(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        numbers = bool(cells) and all(isinstance(row[position], (int, float)) for row in cells)
        # An id that is cut off cannot be copied.
        drawn.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(value if isinstance(value, Text) else Text(_shown(value)) for value in row))
    _console(sys.stdout).print(drawn)


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner while something takes its time; nothing where nobody watches."""
    console = _console(sys.stderr)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def fail(problem: str, remedy: str | None) -> None:
    """The last words of a command that failed."""
    first, *more = problem.splitlines() or [""]
    hint("[bold red]✗[/] {}", first)
    for line in more:
        hint("  {}", line)
    if remedy:
        hint("[bold]→[/] {}", remedy)


def wants_traceback() -> bool:
    return os.environ.get("SPACEOS_DEBUG", "") not in {"", "0"}


def _shown(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return "\n".join(map(printable, str(value).split("\n")))


def _console(stream: Any) -> Any:
    from rich.console import Console

    return Console(file=stream)
