"""Whoever reads a topic that strangers can write to says who vouches for it: without that, all is believed."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = {"Projector": 99, "ReaderSet": 99, "kafka_source": 2, "Parts": 4, "watching_outcomes": 5, "records_by_sequence": 4}
"""What reads, and how many plain arguments name the voucher, too."""
APART = {"bench", "demo"}
"""They read what they have published themselves."""


def test_every_reader_of_the_deployment_is_told_who_vouches() -> None:
    wrong, seen = [], set()
    for path in sorted((ROOT / "ops").rglob("*.py")):
        if path.relative_to(ROOT / "ops").parts[0] in APART:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACES:
                seen.add(node.func.id)
                is_told = any(word.arg == "vouch" for word in node.keywords) or len(node.args) >= PLACES[node.func.id]
                if not is_told:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []
    assert seen == set(PLACES)
