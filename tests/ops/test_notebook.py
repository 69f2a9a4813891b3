"""A real run, taken away and asked: `spaceos demo`, `spaceos export`, `spaceos sql`, and the notebook that is shipped."""

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import nbformat
import orjson
import pytest
from nbclient import NotebookClient

from adapters.parquet import open_export
from contracts.providers import ProviderDraining
from ops.demo.trace import AZURE_TRACE, arrivals
from ops.local import kafka as local_kafka
from tests.adapters.exports import Chained, exported
from tests.adapters.test_parquet import contents

SPACEOS = Path(sys.executable).parent / "spaceos"
NOTEBOOK = Path(__file__).parents[2] / "ops" / "notebooks" / "three_questions.ipynb"
REQUESTS = 1_000
HERE = ("SPACEOS_STORE", "SPACEOS_VIEWS", "SPACEOS_AUDIT")


class Run:
    """A deployment in a home of its own, in which the demo has run."""

    def __init__(self, home: Path, kafka: str) -> None:
        self._home, self._kafka = home, kafka
        self.demo = self.spaceos("demo", "--limit", str(REQUESTS), "--rate", "250", "--providers", "40", "--no-money")
        self.folder = home / "export"
        self.export = self.spaceos("export", self.folder, "--verify", "--values")

    def spaceos(self, *arguments: str | Path) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if name not in HERE}
        told = subprocess.run(
            [SPACEOS, *arguments, "--json"],
            env={**environment, "SPACEOS_HOME": str(self._home), "SPACEOS_KAFKA": self._kafka},
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        found: dict[str, Any] = json.loads(told.stdout)
        return found


@pytest.fixture(scope="module")
def run(own_broker: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("home"), local_kafka.address(own_broker))


@pytest.fixture(scope="module")
def played(run: Run) -> nbformat.NotebookNode:
    return play(run.folder)


def shipped() -> nbformat.NotebookNode:
    found: nbformat.NotebookNode = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    return found


def play(folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. Fails with the traceback of the cell that failed."""
    notebook = shipped()
    client = NotebookClient(notebook, timeout=90, kernel_name="python3")
    client.execute(env={**os.environ, "SPACEOS_EXPORT": str(folder)})
    return notebook


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell printed."""
    return ["".join(o.get("text", "") for o in cell.get("outputs", ()) if o.get("name") == "stdout") for cell in notebook.cells]


def plots(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


def answers(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(notebook)[-1])
    return found


def decisions(folder: Path) -> list[dict[str, Any]]:
    """Straight from the signed bytes, not by the views that the notebook uses."""
    with open_export(folder, trust=True) as opened:
        values = opened.rows("SELECT value FROM events WHERE type = 'inference.RouteDecided'")
    return [orjson.loads(value)["data"] for (value,) in values]


# The run


def test_an_export_holds_every_event_of_the_run(run: Run) -> None:
    assert run.export["events"] == run.demo["events"] == sum(end - start for start, end in run.export["cut"].values())
    assert (run.export["verified"], run.export["values"]) == (True, True)


def test_taken_away_again_it_is_the_same_bytes(run: Run) -> None:
    """Up to the same cut, whatever has come since."""
    cut = ",".join(f"{shard}={end}" for shard, (_, end) in run.export["cut"].items())

    run.spaceos("export", run.folder.with_name("again"), "--verify", "--values", "--to", cut)

    assert contents(run.folder.with_name("again")) == contents(run.folder)


def test_sql_counts_what_the_run_counted(run: Run) -> None:
    told = run.spaceos("sql", "SELECT count(*), count(DISTINCT request), count(offer), count(cost) FROM routes", run.folder)

    assert told["rows"] == [[REQUESTS] * 4]


# The notebook


def test_the_notebook_answers_three_questions_with_a_plot_each(run: Run, played: nbformat.NotebookNode) -> None:
    text = "\n".join(printed(played))

    assert plots(played) == 3
    assert f"{REQUESTS:,} requests were decided" in text
    assert "to a durable decision" in text
    assert "Requests that the chosen offer would have lost" in text


def test_who_was_chosen_is_what_the_decisions_say(run: Run, played: nbformat.NotebookNode) -> None:
    found = answers(played)
    decided = decisions(run.folder)

    assert found["requests"] == len(decided) == REQUESTS
    assert found["by_model"] == Counter(decision["model"] for decision in decided)
    assert found["chains"] == Counter(str(len(decision["chain"])) for decision in decided)


@pytest.mark.skipif(not AZURE_TRACE.is_file(), reason="the trace does not lie beside the repository; the demo drew one")
def test_the_tokens_are_those_of_the_trace(played: nbformat.NotebookNode) -> None:
    _, trace = arrivals(AZURE_TRACE, REQUESTS)

    assert answers(played)["prompt_tokens"] == sum(arrival.prompt_tokens for arrival in islice(trace, REQUESTS))


def test_the_gini_coefficient_is_half_the_relative_mean_difference(run: Run, played: nbformat.NotebookNode) -> None:
    """Found another way: over all pairs of devices."""
    with open_export(run.folder, trust=True) as opened:
        offers = opened.rows("SELECT subject, device, model FROM providers_offer_declared")
    decided = decisions(run.folder)
    asked = {decision["model"] for decision in decided}
    device_of = {subject.rpartition("/")[2]: device for subject, device, model in offers if model in asked}
    chosen = Counter(device_of[decision["chain"][0]] for decision in decided)
    loads = [chosen[device] for device in set(device_of.values())]

    mean = sum(loads) / len(loads)
    difference = sum(abs(a - b) for a in loads for b in loads) / len(loads) ** 2

    assert answers(played)["devices"] == len(loads)
    assert answers(played)["gini"] == pytest.approx(difference / (2 * mean), abs=1e-6)


def test_whoever_is_no_dearer_loses_nothing_and_whoever_is_dearer_loses_no_less(played: nbformat.NotebookNode) -> None:
    """The first is the check that the question is asked rightly: the policy chose within these 5 %."""
    shares = [share for _, share in sorted(answers(played)["moved"].items(), key=lambda item: int(item[0]))]

    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0


def test_the_notebook_runs_on_an_export_without_decisions(tmp_path: Path) -> None:
    shard = Chained()
    shard.append(ProviderDraining(), "providers/provider/x")
    exported(tmp_path / "out", shard)

    notebook = play(tmp_path / "out")

    assert "It holds no decisions" in printed(notebook)[1]
    assert answers(notebook)["requests"] == 0


def test_the_notebook_is_kept_without_outputs() -> None:
    """They would be somebody's run, and change with every one."""
    notebook = shipped()

    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
