"""What if keys lived shorter, or more roles needed two persons: recorded commands decided again."""

from collections.abc import Iterator

from contracts.identity import SERVICE_KEY_DAYS
from domain.identity.giving import GIVEN_BY_TWO
from ops.replay.constants import constants
from ops.replay.evidence import Evidence
from ops.replay.recommanding import recommand
from ops.replay.registry import Parameter, Values, WhatIf
from ops.replay.verdict import Verdict


def whatifs() -> Iterator[WhatIf]:
    yield WhatIf(
        "recommand", "keys", "which registrations would have been accepted", ("identity",),
        (
            Parameter("service_key_days", SERVICE_KEY_DAYS, "the longest that a key is registered for, in days"),
            Parameter("given_by_two", GIVEN_BY_TWO, "roles of bounded kinds that need two, with commas between", _roles),
        ),
        _keys,
    )  # fmt: skip


def _roles(text: str) -> frozenset[str]:
    return frozenset(role.strip() for role in text.split(","))


async def _keys(evidence: Evidence, values: Values) -> Verdict:
    tried = {name.upper(): value for name, value in values.items()}
    return await recommand(evidence, "identity", lambda: constants(("domain.identity",), tried))
