"""Running what-ifs: each gets a run of its own, and its answer is signed by nobody and published nowhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.replay.cuts import Cut, written
from adapters.replay.kafka import KafkaSource
from contracts import Digest, Label, uuid7
from contracts.liveness import ShardCut
from contracts.operations import Parameter as Tried
from contracts.operations import ParameterName, RunWhatIf, Words
from ops.genesis import digest_of
from ops.replay.evidence import Evidence
from ops.replay.opening import Reading, topics_of
from ops.replay.registry import Values, WhatIf, chosen, text_of
from ops.replay.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """One what-if, and what it came to."""

    run: str
    whatif: WhatIf
    values: Values
    start: Cut
    end: Cut
    verdict: Verdict
    input_digest: str
    seconds: float

    @property
    def parameters(self) -> list[dict[str, str]]:
        """Each with what the rules have and what was tried."""
        return [
            {"name": parameter.name, "recorded": parameter.shown, "tried": text_of(self.values[parameter.name])}
            for parameter in self.whatif.parameters
        ]

    def document(self) -> dict[str, Any]:
        """As JSON. Whoever finds it somewhere sees what it is."""
        return {
            "what_if": self.run, "kind": self.whatif.kind, "name": self.whatif.name, "parameters": self.parameters,
            "from": written(self.start), "to": written(self.end), "input_digest": self.input_digest,
            "result_digest": self.verdict.digest(), **self.verdict.document(),
        }  # fmt: skip

    def command(self) -> RunWhatIf:
        """What may be recorded of it: the question, and digests of what was looked at and of the answer."""
        return RunWhatIf(
            kind=Label(self.whatif.title), start=places(self.start), end=places(self.end),
            parameters=tuple(
                Tried(name=ParameterName(each["name"]), recorded=Words(each["recorded"]), tried=Words(each["tried"]))
                for each in self.parameters
            ),
            input_digest=Digest(self.input_digest), result_digest=Digest(self.verdict.digest()),
        )  # fmt: skip


async def ask_otherwise(opened: Reading, kind: str, settings: Sequence[str], first: str, second: str) -> list[Answered]:
    """Answer every what-if that is meant. Raises UnknownWhatIf, BadPosition, RangeMissing, TooMuch, NotGenuine, ChainBroken."""
    return [await _answer(opened, whatif, values, first, second) for whatif, values in chosen(kind, settings)]


async def _answer(opened: Reading, whatif: WhatIf, values: Values, first: str, second: str) -> Answered:
    topics, began, run = topics_of(whatif.contexts), time.monotonic(), uuid7()
    start, end = await opened.cut(first, topics), await opened.cut(second, topics)
    settings = opened.deployment.settings
    client = settings.kafka_client_options() if isinstance(opened.source, KafkaSource) else None
    genesis, digest = opened.deployment.genesis, digest_of(opened.deployment.genesis_path)
    beginning = genesis.founding(digest), list(genesis.grants())
    evidence = Evidence(run, opened.source, start, end, opened.check(), settings.partitions, client, beginning)
    verdict = await whatif.run(evidence, values)
    return Answered(run, whatif, values, start, end, verdict, evidence.input_digest(), time.monotonic() - began)


def places(cut: Cut) -> tuple[ShardCut, ...]:
    """A cut as a command says it."""
    return tuple(ShardCut(shard=shard, next=next_) for shard, next_ in sorted(cut.items()))
