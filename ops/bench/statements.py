"""Reading a bank's statement of 100,000 entries, against splitting its lines and doing nothing with them."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

from adapters.bank.statements import parse_statement
from ops.bench import Measure, compare, rate

ENTRIES = 100_000
ROUNDS = 5


def measures() -> Iterator[Measure]:
    """Entries a second. Every tenth has no reference of the bank's, every twentieth is a reversal."""
    data = written(ENTRIES)
    [statement] = parse_statement(data)
    if len(statement.entries) != ENTRIES or len({entry.reference for entry in statement.entries}) != ENTRIES:
        raise RuntimeError("entries were lost")
    yield compare(
        "parse an MT940 of 100,000 entries / split its lines",
        lambda: rate(ENTRIES, lambda: parse_statement(data)),
        lambda: rate(ENTRIES, lambda: split(data)),
        unit="entries/s", goal="≥ 1/20", is_met=lambda ratio, _: ratio >= 1 / 20, rounds=ROUNDS,
    )  # fmt: skip


def split(data: bytes) -> list[list[str]]:
    """The least that anybody does who looks at each line."""
    return [line.split(":", 2) for line in data.decode().split("\n")]


def written(count: int) -> bytes:
    """A statement of one account over a year, which adds up."""
    chance = random.Random(7)  # noqa: S311  a benchmark has to repeat, not to be secret
    day, balance = date(2026, 1, 1), 10_000_000
    lines = [":20:BENCH", ":25:NL26VAYB8060476890", ":28C:1/1", f":60F:C{day:%y%m%d}EUR{_comma(balance)}"]
    for number in range(count):
        booked_at = day + timedelta(days=number * 365 // count)
        cents = chance.randint(1, 10_000_000)
        mark = "C" if number % 2 else "D"
        balance += cents if mark == "C" else -cents
        if number % 20 == 0:
            mark = "RC"
        own = f"//BANK{number:012}" if number % 10 else ""
        lines.append(f":61:{booked_at:%y%m%d%m%d}{mark}{_comma(cents)}NTRFNONREF{own}")
        lines.append(f":86:Invoice {number:08}\nof somebody whose name is long enough for a line")
    sign = "C" if balance >= 0 else "D"
    lines += [f":62F:{sign}261231EUR{_comma(balance)}", "-", ""]
    return "\r\n".join(lines).encode()


def _comma(cents: int) -> str:
    return f"{abs(cents) // 100},{abs(cents) % 100:02}"
