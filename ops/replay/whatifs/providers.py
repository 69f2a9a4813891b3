"""What if the catalogue and prices were bounded otherwise: recorded commands decided again."""

from collections.abc import Iterator

from contracts.providers import EARLY_ACCESS_DAYS, MAX_PRICE_UNITS
from ops.replay.constants import constants
from ops.replay.evidence import Evidence
from ops.replay.recommanding import recommand
from ops.replay.registry import Parameter, Values, WhatIf
from ops.replay.verdict import Verdict


def whatifs() -> Iterator[WhatIf]:
    yield WhatIf(
        "recommand", "providers", "which offers and listings would have been accepted", ("providers",),
        (
            Parameter("max_price_units", MAX_PRICE_UNITS, "what a token may cost at most, in USD.s units"),
            Parameter("early_access_days", EARLY_ACCESS_DAYS, "how long a new model may belong to Enterprise offers"),
        ),
        _providers,
    )  # fmt: skip


async def _providers(evidence: Evidence, values: Values) -> Verdict:
    tried = {name.upper(): value for name, value in values.items()}
    return await recommand(evidence, "providers", lambda: constants(("domain.providers",), tried))
