"""What people are shown: no text of a stranger is mark-up, or an order to the terminal."""

import ast
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ops.cli import output

ROOT = Path(__file__).parents[2]
EVIL = ["[/red]", "[bold]x", "\x1b[2Jgone", "a\\", "\x9b31m", "\u202egnp.exe", "two\nlines", "{0}", "[link=http://x]y[/link]"]


def test_what_is_said_is_a_literal_and_its_values_stand_apart() -> None:
    """An f-string would make mark-up of whatever is in it."""
    wrong = []
    for path in sorted((ROOT / "ops").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_said = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"say", "hint"}
            if (
                is_said
                and not all(isinstance(text, ast.Constant) for text in _texts(node.args[0]))
                and path.name != "output.py"
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def _texts(node: Any) -> list[Any]:
    return [*_texts(node.body), *_texts(node.orelse)] if isinstance(node, ast.IfExp) else [node]


@pytest.mark.parametrize("evil", EVIL)
def test_a_value_is_shown_as_it_is_and_moves_nothing(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(
        output, "_console", lambda _stream: Console(file=shown, force_terminal=True, color_system=None, width=200)
    )
    monkeypatch.setattr(sys, "stdout", shown)

    output.say("[bold]{}[/] is {}", evil, evil)
    output.table(evil, ["which"], [[evil]])
    output.fail(evil, evil)
    output.answer({"text": evil})

    said = shown.getvalue()
    assert said.count(output.printable(evil).replace("\\n", "\n").partition("\n")[0]) >= 4
    assert not set(said.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[1;31m", "")) & set("\x1b\x9b\u202e")
    assert json.loads(said.splitlines()[-1]) == {"text": evil}
