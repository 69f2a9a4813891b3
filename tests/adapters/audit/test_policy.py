"""Policies: what they say, whom they ask for, and which rule each wrong line breaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.audit.policy import Group, KnownLog, Policy, PolicyInvalid, Witness
from adapters.tlog.notes import COSIGNATURE, ED25519, NoteKey, NoteSigner


def signer(n: int, kind: int = COSIGNATURE) -> NoteSigner:
    return NoteSigner.of(f"w{n}.example", n.to_bytes(32), kind)


KEYS = [signer(n).key for n in range(12)]
LOG = signer(100, ED25519).key
W = [str(key) for key in KEYS]

# The example of c2sp.org/tlog-policy, with keys.
EXAMPLE = f"""log {LOG}

witness X1 {W[0]}
witness X2 {W[1]}
witness X3 {W[2]}
group X-witnesses 2 X1 X2 X3

witness Y1 {W[3]}
  # leading spaces, tabs and comments are let be
\twitness\tY2   {W[4]}  https://w4.example/submit\t
witness Y3 {W[5]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


@pytest.mark.parametrize(
    ("cosigners", "is_met"),
    [([0, 1, 3], True), ([0, 2, 5], True), ([0, 1, 2], False), ([0, 3, 4, 5], False), ([], False), (range(6), True)],
)
def test_the_published_example_asks_for_two_of_three_and_one_of_three(cosigners: list[int], is_met: bool) -> None:
    policy = Policy.parse(EXAMPLE)

    assert policy.is_met_by(KEYS[n] for n in cosigners) is is_met


def test_a_policy_says_who_is_known_and_where() -> None:
    policy = Policy.parse(EXAMPLE)

    assert policy.logs == (KnownLog(LOG),)
    assert [witness.name for witness in policy.witnesses] == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    assert policy.witnesses[4] == Witness("Y2", KEYS[4], "https://w4.example/submit")


def test_a_quorum_of_none_is_met_by_nobody() -> None:
    assert Policy.parse(b"quorum none\n").is_met_by([])


def test_the_same_key_as_another_kind_is_another_signer() -> None:
    """A log that signs its own head has not witnessed it."""
    policy = Policy.parse(f"witness a {W[0]}\nquorum a\n".encode())

    assert not policy.is_met_by([NoteKey(KEYS[0].name, ED25519, KEYS[0].public)])


WRONG: dict[str, tuple[str, str]] = {
    "line 1: .* not with 'witnes'": ("witnes a b", ""),
    "line 1: a line of this kind is: log": ("log", ""),
    "line 1: a line of this kind is: witness": ("witness a", ""),
    "line 1: a line of this kind is: group": ("group a any", ""),
    "line 1: a line of this kind is: quorum": ("quorum a b", ""),
    "line 1: .* is no verifier key": ("log something", ""),
    "line 1: a log's key is": (f"log {W[0]}", ""),
    "line 1: a witness's key is": (f"witness a {LOG}", ""),
    "line 1: the id of": (f"witness a {W[0].replace('w0.', 'w1.')}", ""),
    "line 2: .* that of another log": (f"log {LOG}", f"log {NoteKey('other.example', ED25519, LOG.public)}"),
    "line 2: .* that of another witness": (f"witness a {W[0]}", f"witness b {W[0]}"),
    "line 2: a is defined already": (f"witness a {W[0]}", f"witness a {W[1]}"),
    "line 3: b is defined already": (f"witness a {W[0]}\nwitness b {W[1]}", "group b any a"),
    "line 1: the name none is taken": (f"witness none {W[0]}", ""),
    "line 2: the name none is taken": (f"witness a {W[0]}", "group none any a"),
    "line 1: a is no witness": ("quorum a", ""),
    "line 2: none is no witness": (f"witness a {W[0]}", "group g any none"),
    "line 2: later is no witness": (f"witness a {W[0]}", f"group g any later\nwitness later {W[1]}"),
    "line 2: g is no witness": (f"witness a {W[0]}", "group g any a g"),
    "line 2: a is a member already": (f"witness a {W[0]}", "group g all a a"),
    "line 3: a is a member already": (f"witness a {W[0]}\ngroup g any a", "group h any a"),
    "line 2: of 1 members": (f"witness a {W[0]}", "group g 0 a"),
    "line 2: of 1 members .* not '2'": (f"witness a {W[0]}", "group g 2 a"),
    "line 2: of 1 members .* not '01'": (f"witness a {W[0]}", "group g 01 a"),
    "line 2: of 1 members .* not '９'": (f"witness a {W[0]}", "group g ９ a"),
    "line 2: there is a quorum line": ("quorum none", "quorum none"),
    "line 1: a policy has no control": ("quorum\rnone", ""),
    "line 2: a policy has no control": ("quorum none", "# \x7f"),
    "line 1: the policy ends without": ("# nothing", ""),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_is_wrong_is_named_with_its_line(rule: str) -> None:
    text = "".join(f"{line}\n" for line in WRONG[rule] if line)

    with pytest.raises(PolicyInvalid, match=f"^{rule}"):
        Policy.parse(text.encode())


@pytest.mark.parametrize(("raw", "rule"), [(b"quorum none", "ends in a newline"), (b"#" * 70_000 + b"\n", "65536 bytes")])
def test_a_file_that_was_cut_or_is_too_long_is_refused(raw: bytes, rule: str) -> None:
    with pytest.raises(PolicyInvalid, match=rule):
        Policy.parse(raw)


def test_names_are_octets() -> None:
    """Neither the Kelvin sign nor a byte that is no UTF-8 is the letter K."""
    raw = b"witness K %b\nwitness \xe2\x84\xaa %b\nwitness \xff %b\ngroup g any \xe2\x84\xaa \xff\nquorum g\n"

    policy = Policy.parse(raw % tuple(text.encode() for text in W[:3]))

    assert [policy.is_met_by([key]) for key in KEYS[:3]] == [False, True, True]
    assert Policy.parse(policy.encode()) == policy
    assert b"\xff" in policy.encode()


def test_groups_may_be_nested_as_deep_as_a_file_is_long() -> None:
    lines = [f"witness g0 {W[0]}", *(f"group g{n + 1} all g{n}" for n in range(2_000)), "quorum g2000"]

    policy = Policy.parse("".join(f"{line}\n" for line in lines).encode())

    assert policy.is_met_by([KEYS[0]])
    assert not policy.is_met_by([KEYS[1]])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    witnesses = [
        Witness(f"w{n}", KEYS[n], draw(st.sampled_from([None, "https://w.example/x", "http://[::1]:1/#é"])))
        for n in range(draw(st.integers(0, 8)))
    ]
    free, groups, more = [witness.name for witness in witnesses], list[Group](), st.booleans()
    while draw(more) and free:
        members = tuple(draw(st.lists(st.sampled_from(free), min_size=1, unique=True)))
        free = [name for name in free if name not in members]
        groups.append(Group(f"g{len(groups)}", draw(st.integers(1, len(members))), members))
        free.append(groups[-1].name)
    names = [witness.name for witness in witnesses] + [group.name for group in groups]
    quorum = draw(st.sampled_from([None, *names]))
    return Policy((KnownLog(LOG),) if draw(more) else (), tuple(witnesses), tuple(groups), quorum)


@given(policies())
def test_what_is_written_is_what_is_read(policy: Policy) -> None:
    assert Policy.parse(policy.encode()) == policy


def naively_met(policy: Policy, name: str | None, cosigners: frozenset[NoteKey]) -> bool:
    """As the document puts it: from the quorum down."""
    if name is None:
        return True
    for witness in policy.witnesses:
        if witness.name == name:
            return witness.key in cosigners
    [group] = [group for group in policy.groups if group.name == name]
    return len([member for member in group.members if naively_met(policy, member, cosigners)]) >= group.threshold


@given(policies(), st.frozensets(st.sampled_from(KEYS)), st.frozensets(st.sampled_from(KEYS)))
def test_a_quorum_is_counted_as_it_is_written(policy: Policy, some: frozenset[NoteKey], more: frozenset[NoteKey]) -> None:
    """And another cosignature never takes one back."""
    assert policy.is_met_by(some) == naively_met(policy, policy.quorum, some)
    assert policy.is_met_by(some) <= policy.is_met_by(some | more)


@given(st.binary(max_size=300) | st.text(alphabet="logwitnesgroupqum anyl#0123\t\n+=", max_size=200).map(str.encode))
def test_whatever_is_read_is_a_policy_or_named_as_wrong(raw: bytes) -> None:
    complaint, policy = "", None

    try:
        policy = Policy.parse(raw)
    except PolicyInvalid as error:
        complaint = str(error)

    assert complaint.startswith("line ") if policy is None else Policy.parse(policy.encode()) == policy
