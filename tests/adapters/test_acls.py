"""Who may do what follows from the topics, and what a broker has besides is told from what it must have."""

import asyncio
from dataclasses import replace
from itertools import groupby

import pytest

from adapters.kafka.acls import (
    EVERYBODY,
    Groups,
    May,
    NoAuthorizer,
    On,
    Pattern,
    Roles,
    Rule,
    add_rules,
    compare_rules,
    known_rules,
    remove_rules,
    rules_of,
)

GROUPS = Groups("spaceos.worker", ("dev.heartbeats",), ("dev.readers.",))
ROLES = Roles(("User:worker",), ("User:readers",), (EVERYBODY,))


def test_the_rules_are_these() -> None:
    """Written out once: each of them opens a door."""
    rules = rules_of(["bank"], ["bank.rates"], GROUPS, ROLES)

    found = {name: sorted((r.principal, r.operation) for r in some) for name, some in groupby(rules, lambda r: r.shown_name)}
    assert found == {
        "bank.commands": [("User:*", "write"), ("User:readers", "write"), ("User:worker", "read")],
        "bank.events": [("User:readers", "read"), ("User:worker", "read"), ("User:worker", "write")],
        "bank.outcomes": [("User:*", "read"), ("User:readers", "read"), ("User:worker", "read"), ("User:worker", "write")],
        "bank.rates": [("User:*", "write"), ("User:readers", "read")],
        "dev.heartbeats": [("User:readers", "read")],
        "dev.readers.*": [("User:readers", "read")],
        "spaceos.worker": [("User:worker", "read")],
    }
    assert all(rule.allows for rule in rules)


def test_only_the_worker_writes_what_it_signs() -> None:
    rules = rules_of(["bank", "post"], [], GROUPS, ROLES)

    writers = {rule.principal for rule in rules if rule.may == May.WRITE and rule.name.endswith((".events", ".outcomes"))}
    assert writers == {"User:worker"}


@pytest.mark.parametrize(
    "besides",
    [
        Rule(On.TOPIC, "bank.events", "User:old", May.WRITE),
        Rule(On.TOPIC, "*", "User:old", May.ALL),
        Rule(On.TOPIC, "bank.", "User:old", May.WRITE, Pattern.PREFIXED),
        Rule(On.GROUP, "dev.readers.default", "User:old", May.READ),
        replace(Rule(On.TOPIC, "bank.events", "User:worker", May.WRITE), permission=2),
    ],
)
def test_what_else_is_said_of_our_topics_and_groups_is_found(besides: Rule) -> None:
    """Also by a pattern, and also what forbids: the worker would be shut out."""
    wanted = rules_of(["bank"], [], GROUPS, ROLES)

    compared = compare_rules(wanted, [*wanted[1:], besides])

    assert compared.missing == (wanted[0],)
    assert compared.others == (besides,)


def test_what_is_said_of_others_topics_is_none_of_ours() -> None:
    wanted = rules_of(["bank"], [], GROUPS, ROLES)
    others = [
        Rule(On.TOPIC, "bank.eventsof", "User:x", May.WRITE),
        Rule(On.GROUP, "bank.events", "User:x", May.READ),
        Rule(On.TOPIC, "banks.", "User:x", May.ALL, Pattern.PREFIXED),
        Rule(4, "kafka-cluster", "User:x", 7),
    ]

    assert compare_rules(wanted, [*wanted, *others]).others == ()


def test_a_rule_is_said_in_kafkas_own_words() -> None:
    named = Rule(On.TOPIC, "bank.events", "User:CN=w,O=it's us", May.WRITE)
    prefix = Rule(On.GROUP, "dev.readers.", "User:readers", May.READ, Pattern.PREFIXED)

    assert named.arguments() == ("""--add --allow-principal 'User:CN=w,O=it'"'"'s us' --operation Write --topic bank.events""")
    assert prefix.arguments().endswith("--group dev.readers. --resource-pattern-type prefixed")


def test_a_broker_without_an_authorizer_says_so_and_what_to_do(kafka: str) -> None:
    client = {"bootstrap_servers": kafka}
    rules = rules_of(["bank"], [], GROUPS, ROLES)

    for asked in (known_rules(client), add_rules(rules, client), remove_rules(rules, client)):
        with pytest.raises(NoAuthorizer, match="SPACEOS_KAFKA_SECURE=1 for the local broker"):
            asyncio.run(asked)
