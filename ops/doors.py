"""Who may do what at the broker: what a deployment's contexts and settings make of it, and whether the broker has it so."""

from collections.abc import Collection
from typing import Final

from adapters.audit.sequencer import READER as AUDITOR
from adapters.kafka.acls import Compared, Groups, May, Roles, Rule, compare_rules, known_rules, rules_of
from ops.compose import READERS, Deployment
from streams import Collector

WORKER_GROUP: Final = "spaceos.worker"


def rules_of_deployment(found: Deployment) -> list[Rule]:
    """Every rule that its processes and clients need, and no other."""
    network, settings = found.network, found.settings
    alone = [stream.name for stream in found.streams if isinstance(stream, Collector)]
    # Sets are named by settings and come and go, so their groups share a prefix. It ends in a dot and has the word `readers`,
    # or that of a network called `spaceos` would cover the worker's group.
    groups = Groups(WORKER_GROUP, tuple(f"{network}.{name}" for name in (*alone, AUDITOR)), (f"{network}.{READERS}.",))
    roles = Roles(settings.kafka_workers, settings.kafka_readers, settings.kafka_clients)
    return rules_of(found.contexts(), found.raw_topics(), groups, roles)


async def compared(found: Deployment) -> Compared:
    """What the broker lacks, and what else it has. Raises NoAuthorizer, NotAllowed, KafkaError."""
    known = await known_rules(found.settings.kafka_client_options("operator"))
    return compare_rules(rules_of_deployment(found), known)


def rows_of(rules: Collection[Rule]) -> list[tuple[str, str, str, str]]:
    """A row for each topic and group: what it is, its name, who may read it, who may write it."""
    named: dict[tuple[int, str], list[Rule]] = {}
    for rule in sorted(rules):
        named.setdefault((rule.on, rule.shown_name), []).append(rule)
    return [
        (found[0].kind, name, _principals(found, May.READ), _principals(found, May.WRITE)) for (_, name), found in named.items()
    ]


def _principals(rules: Collection[Rule], may: May) -> str:
    return ", ".join(rule.principal for rule in rules if rule.may == may)


def document_of(rule: Rule) -> dict[str, str]:
    """A rule for programs, in Kafka's words."""
    return {
        "resource": rule.kind,
        "name": rule.name,
        "pattern": "prefixed" if rule.is_prefix else "literal",
        "principal": rule.principal,
        "host": rule.host,
        "operation": rule.operation,
        "permission": "allow" if rule.allows else "deny",
    }
