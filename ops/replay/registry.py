"""What-ifs: each a question that a context knows how to ask again with other parameters.

A module of `ops/replay/whatifs` has `whatifs() -> Iterator[WhatIf]`; the package is walked, so adding one edits nothing else.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ops.replay import whatifs

if TYPE_CHECKING:
    from ops.replay.evidence import Evidence
    from ops.replay.verdict import Verdict

Kind = Literal["refold", "redecide", "recommand"]
KINDS: tuple[Kind, ...] = ("refold", "redecide", "recommand")


class UnknownWhatIf(ValueError):
    """No what-if of that kind and name, or none with that parameter. The message lists those that there are."""


def whole(text: str) -> int:
    """A number, as people write it after `--set name=`. Raises ValueError."""
    return int(text.replace("_", ""))


def text_of(value: Any) -> str:
    """A value as it is written after `--set name=`."""
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


@dataclass(frozen=True)
class Parameter:
    """What the rules have, and how another value is read."""

    name: str
    recorded: Any
    about: str
    read: Callable[[str], Any] = whole

    @property
    def shown(self) -> str:
        return text_of(self.recorded)


Values = Mapping[str, Any]
"""Every parameter of a what-if with its value: tried where it was set, recorded where not."""


@dataclass(frozen=True)
class WhatIf:
    """One question. `run` answers it for the window of the evidence; with the recorded values the difference is empty."""

    kind: Kind
    name: str
    about: str
    contexts: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    run: Callable[["Evidence", Values], Awaitable["Verdict"]]

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    def recorded(self) -> dict[str, Any]:
        return {parameter.name: parameter.recorded for parameter in self.parameters}


def all_whatifs() -> Iterator[WhatIf]:
    """Of every context, in the order of their modules."""
    for module in sorted(found.name for found in pkgutil.iter_modules(whatifs.__path__)):
        yield from importlib.import_module(f"ops.replay.whatifs.{module}").whatifs()


def chosen(kind: str, settings: Sequence[str]) -> list[tuple[WhatIf, Values]]:
    """The what-ifs that are meant by `redecide` or `redecide:routes`, with the values that are set (`name=value`).

    Where a kind alone is given, those that have one of the set parameters; without any, all. Raises UnknownWhatIf.
    """
    wanted, _, name = kind.partition(":")
    found = [each for each in all_whatifs() if each.kind == wanted and name in ("", each.name)]
    if not found:
        known = ", ".join(f"{each.kind}:{each.name}" for each in all_whatifs())
        raise UnknownWhatIf(f"there is no what-if {kind}; there are: {known}")
    said = dict(_parted(setting) for setting in settings)
    _refuse_unknown(found, said)
    meant = [each for each in found if not said or said.keys() & each.recorded().keys()]
    return [(each, _values(each, said)) for each in meant]


def _parted(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals or not value:
        raise UnknownWhatIf(f"{setting!r} sets nothing; a setting is name=value")
    return name.strip(), value.strip()


def _refuse_unknown(found: Sequence[WhatIf], said: Mapping[str, str]) -> None:
    known = {parameter.name: parameter for each in found for parameter in each.parameters}
    if unknown := sorted(said.keys() - known.keys()):
        lines = ", ".join(f"{parameter.name} ({parameter.shown})" for parameter in known.values())
        raise UnknownWhatIf(f"there is no parameter {unknown[0]}; there are: {lines or 'none'}")


def _values(each: WhatIf, said: Mapping[str, str]) -> dict[str, Any]:
    values = each.recorded()
    for parameter in each.parameters:
        if parameter.name in said:
            try:
                values[parameter.name] = parameter.read(said[parameter.name])
            except ValueError:
                raise UnknownWhatIf(f"{said[parameter.name]!r} is no value of {parameter.name}: {parameter.about}") from None
    return values
