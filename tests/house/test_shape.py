"""The shape of the house: what every context must look like, whichever contexts there are."""

import ast
import importlib
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from commands import service_class
from contracts import (
    AdoptParameter,
    AtomicText,
    Command,
    Event,
    Halt,
    Lift,
    Message,
    PolicyCommand,
    PolicyEvent,
    contexts,
    id_type,
    is_policy,
    languages,
    own_class,
    parameters_class,
)
from domain import Refused
from streams import Projection, all_streams
from tests.house.sources import LAYERS, ROOT, files_of, functions, imports, is_closed, matched, modules, tree, where

each_context = pytest.mark.parametrize("context", contexts())


def names(context: str, kind: type[Message]) -> set[str]:
    """Without what every context says: that is answered, applied and shown in one place for all."""
    said = (cls for cls in languages() if cls.wire.context == context and not is_policy(cls))
    return {cls.__name__ for cls in said if issubclass(cls, kind)}


class AnyWorld:
    network = "house"
    outside = None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        raise NotImplementedError


# (a) apply


def applies() -> Iterator[Any]:
    for path, module in modules("domain"):
        for kind in ast.walk(module):
            if isinstance(kind, ast.ClassDef) and any("Aggregate[" in ast.unparse(base) for base in kind.bases):
                for function in functions(kind, "apply"):
                    yield pytest.param(function, id=where(path, function))


@pytest.mark.parametrize("apply", list(applies()))
def test_apply_has_no_rule_and_no_refusal(apply: ast.FunctionDef) -> None:
    """It runs on replay too: what was recorded has happened, and nobody may say no to it any more."""
    raised = [node for node in ast.walk(apply) if isinstance(node, (ast.Raise, ast.Assert))]
    recorded = [n for n in ast.walk(apply) if isinstance(n, ast.Attribute) and n.attr == "record"]

    assert not raised
    assert not recorded


@pytest.mark.parametrize("apply", list(applies()))
def test_apply_is_closed(apply: ast.FunctionDef) -> None:
    """A new event that nobody assigns is found by mypy, not in production."""
    matches = [node for node in apply.body if isinstance(node, ast.Match)]

    assert len(matches) == 1
    assert is_closed(matches[0])


# (b) every message is handled


@each_context
def test_every_command_is_handled(context: str) -> None:
    path = ROOT / "commands" / f"{context}.py"
    [handle] = functions(tree(path), "handle")
    matches = [node for node in handle.body if isinstance(node, ast.Match)]

    # One command needs no match: the types say that it is the one.
    if len(names(context, Command)) > 1 or matches:
        [match] = matches
        assert matched(match) == names(context, Command)
        assert is_closed(match)
    assert service_class(context).context == context


@each_context
@pytest.mark.parametrize("shared", [AdoptParameter, Halt, Lift], ids=lambda cls: cls.__name__)
def test_every_context_answers_in_its_own_name(context: str, shared: type[Command]) -> None:
    """Adding a context adds nothing of this to it."""
    own = own_class(shared, context)

    assert (own.wire.context, own.wire.roles) == (context, (f"{context}.process",))
    assert own.wire.stream == f"{context}/policy"


def test_what_every_context_says_is_decided_and_shown_in_one_place() -> None:
    [decide] = functions(tree(ROOT / "commands" / "__init__.py"), "_decide_policy")
    [decided] = [node for node in decide.body if isinstance(node, ast.Match)]
    [project] = functions(tree(ROOT / "projections" / "_policy.py"), "project")
    [shown] = [node for node in project.body if isinstance(node, ast.Match)]

    assert matched(decided) == {cls.__name__ for cls in get_args(PolicyCommand)}
    assert matched(shown) == {cls.__name__ for cls in get_args(PolicyEvent)}
    assert is_closed(decided)
    assert is_closed(shown)
    assert [projection.name for projection in projections if projection.shows_policy] == ["policies"]


@each_context
def test_a_parameter_is_within_its_bounds_has_a_unit_and_is_read(context: str) -> None:
    """What no decision reads is no parameter: adopting it would change nothing."""
    kind = parameters_class(context)
    sources = [path.read_text() for layer in ("commands", "domain", "streams") for path in (ROOT / layer).rglob("*.py")]
    for name in kind.names():
        assert kind().with_value(name, kind().model_dump()[name]) == kind()
        assert all(least < greatest for least, greatest in kind.bounds(name).values())
        assert kind.model_fields[name].description
        assert any(f".{name}" in source for source in sources)


@each_context
def test_every_event_is_applied(context: str) -> None:
    found = [function for path in files_of("domain", context) for function in functions(tree(path), "apply")]

    assert names(context, Event) <= set().union(*map(matched, found))


projections = [stream for stream in all_streams(AnyWorld()) if isinstance(stream, Projection)]


@pytest.mark.parametrize("projection", projections, ids=lambda projection: projection.name)
def test_every_event_is_projected(projection: Projection) -> None:
    """By its name, in a match that is closed: what is not shown is passed over on purpose."""
    if get_type_hints(projection.project)["event"] is Event or projection.shows_policy:
        # It shows what every event, or every context, has in common, and names none.
        return
    path = ROOT / (projection.project.__module__.replace(".", "/") + ".py")
    functions_of_event = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Match) and isinstance(node.subject, ast.Name) and node.subject.id == "event"
    ]
    wanted = set().union(*(names(context, Event) for context in projection.contexts))

    assert wanted <= set().union(*map(matched, functions_of_event))
    assert all(is_closed(match) for match in functions_of_event)


@each_context
def test_a_context_that_records_is_read(context: str) -> None:
    assert any(context in projection.contexts for projection in projections)


# (f) the language


@pytest.mark.parametrize("message", list(languages()), ids=lambda cls: cls.wire.type)
def test_a_message_says_who_may_send_it_and_where(message: type[Message]) -> None:
    """Without a role nobody could ever send it; without a stream the worker could not place it."""
    assert message.wire.type == f"{message.wire.context}.{message.__name__}"
    assert not message.__name__.endswith(("Command", "Event"))
    if issubclass(message, Command):
        assert message.wire.roles
        assert message.wire.stream.startswith(f"{message.wire.context}/")
        assert issubclass(id_type(message), AtomicText)
        assert message.__doc__


def annotations() -> Iterator[Any]:
    for context in contexts():
        for path in files_of("contracts", context):
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ClassDef) and node.bases:
                    for field in node.body:
                        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                            yield pytest.param(field, id=f"{where(path, field)}:{field.target.id}")


@pytest.mark.parametrize("field", list(annotations()))
def test_a_quantity_is_exact_and_an_id_is_a_type(field: ast.AnnAssign) -> None:
    """pydantic's lax `int` takes True, 1.0 and "12"; a float is never exact; a bare `str` may be anybody's id."""
    named = {node.id for node in ast.walk(field.annotation) if isinstance(node, ast.Name)}
    assert isinstance(field.target, ast.Name)
    name = field.target.id

    assert not named & {"int", "float", "bool", "Decimal", "Any", "dict", "list", "set"}
    if name in {"id", "key", "device", "wallet"} or name.endswith(("_id", "_ids")):
        assert "str" not in named


# (g) refusals


def refusals() -> Iterator[type[Refused]]:
    for context in contexts():
        importlib.import_module(f"domain.{context}")
    waiting = list(Refused.__subclasses__())
    while waiting:
        found = waiting.pop()
        waiting += found.__subclasses__()
        if found.__module__.startswith("domain"):
            yield found


@pytest.mark.parametrize("refusal", list(refusals()), ids=lambda cls: cls.__name__)
def test_a_refusal_is_named_as_the_state_that_forbids_and_says_its_rule(refusal: type[Refused]) -> None:
    """Its docstring is what a client reads."""
    assert not refusal.__name__.endswith(("Error", "Exception", "Refused", "Failure"))
    assert (refusal.__doc__ or "").strip().endswith(".")
    assert refusal.__doc__ != Refused.__doc__


# (h) who names what

ONLY_IN = {
    "faust": ("adapters/faust/",),
    "litellm": ("adapters/llm", "ops/bench/"),
    "web3": ("adapters/evm",),
    "eventsourcing": ("adapters/sql/recorder.py", "ops/worker/aggregates.py", "ops/bench/"),
    "aiohttp": ("adapters/http/", "adapters/audit/witnesses.py", "ops/witness.py"),
    "aiokafka": ("adapters/", "ops/"),
    "psycopg": ("adapters/", "ops/"),
    "alembic": ("adapters/sql/", "migrations/"),
    "sqlalchemy": ("adapters/", "projections/", "ops/", "streams/__init__.py"),
    "nacl": (
        "adapters/keys.py",
        "adapters/tlog/notes.py",
        "ops/checker.py",
        "ops/contracts/vectors.py",
        "adapters/sealing.py",
        "adapters/vault/",
        "ops/auditverify.py",
    ),
    "typer": ("ops/cli/",),
    "duckdb": ("adapters/parquet/duck.py",),
    "mt940": ("adapters/bank/swift.py",),
    "lxml": ("adapters/bank/camt.py",),
    "cryptography": ("adapters/bank/wise.py",),
}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_named_where_it_belongs(library: str) -> None:
    """What one module names can be replaced in one module. Imports inside functions count too."""
    found = [
        where(path, node)
        for path, module in modules(*LAYERS)
        for name, node in imports(module)
        if name.partition(".")[0] == library and not str(path.relative_to(ROOT)).startswith(ONLY_IN[library])
    ]

    assert not found


@pytest.mark.parametrize("layer", ["domain", "contracts"])
def test_rules_and_language_take_time_and_chance_as_arguments(layer: str) -> None:
    """A decision that asks the clock cannot be made again. uuid7's defaults are for clients."""
    asked = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "urandom", "uuid4", "randint", "random"}
    found = [
        where(path, node)
        for path, module in modules(layer)
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in asked
        if isinstance(node.func.value, ast.Name) and node.func.value.id in {"datetime", "date", "time", "os", "uuid", "random"}
        if path.name != "_values.py"
    ]

    assert not found
