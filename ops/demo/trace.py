"""Requests to replay: a real trace where it is at hand, else one drawn from its published statistics."""

import csv
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

AZURE_TRACE = Path(__file__).resolve().parents[3] / "shared" / "data" / "azure-llm-2023-conv.csv"
"""Azure LLM inference trace 2023, conversation (CC-BY-4.0; Patel et al., Splitwise, ISCA 2024), where it lies beside us."""

# Of the same trace, from the paper: conversations have a median of 1,020 prompt and 129 output tokens.
_MEDIAN_PROMPT, _SIGMA_PROMPT = 1_020, 1.0
_MEDIAN_OUTPUT, _SIGMA_OUTPUT = 129, 1.1
_MEAN_PER_SECOND = 5.5


class BadTrace(ValueError):
    """The trace file is not of the form TIMESTAMP,ContextTokens,GeneratedTokens. The message names the line and the field."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of the trace: seconds after the first one, tokens in, tokens out."""

    at_seconds: float
    prompt_tokens: int
    completion_tokens: int


def arrivals(path: Path | None, limit: int | None) -> tuple[str, Sequence[Arrival]]:
    """What is replayed, in words, and the arrivals in order. Raises BadTrace, FileNotFoundError."""
    if path is not None or AZURE_TRACE.is_file():
        source = path or AZURE_TRACE
        found = list(_first(_read(source), limit))
        return f"{source.name}, {len(found):,} requests", found
    count = limit or 19_366
    return f"{count:,} requests drawn from the statistics of the Azure trace 2023", list(_draw(count, seed=2023))


def _first(found: Iterator[Arrival], limit: int | None) -> Iterator[Arrival]:
    for n, arrival in enumerate(found):
        if limit is not None and n >= limit:
            return
        yield arrival


def _read(path: Path) -> Iterator[Arrival]:
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or not {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= set(rows.fieldnames):
            raise BadTrace(f"{path}: the first line names TIMESTAMP, ContextTokens and GeneratedTokens")
        first: datetime | None = None
        for line, row in enumerate(rows, 2):
            try:
                moment = datetime.fromisoformat(row["TIMESTAMP"][:26])
                first = first or moment
                seconds = (moment - first).total_seconds()
                yield Arrival(seconds, int(row["ContextTokens"]), int(row["GeneratedTokens"]))
            except (TypeError, ValueError) as error:
                raise BadTrace(f"{path}, line {line}: {error}") from None


def _draw(count: int, seed: int) -> Iterator[Arrival]:
    chance, clock = random.Random(seed), 0.0  # noqa: S311  a trace is drawn, not a secret
    for _ in range(count):
        clock += chance.expovariate(_MEAN_PER_SECOND)
        prompt = chance.lognormvariate(math.log(_MEDIAN_PROMPT), _SIGMA_PROMPT)
        output = chance.lognormvariate(math.log(_MEDIAN_OUTPUT), _SIGMA_OUTPUT)
        yield Arrival(clock, min(int(prompt) + 1, 8_000), min(int(output) + 1, 2_000))
