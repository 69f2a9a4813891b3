"""The same rules with other constants: for as long as a what-if runs, and in no other process."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def constants(packages: Sequence[str], values: Mapping[str, Any]) -> Iterator[None]:
    """Set these names in every module under the packages (`domain.inference`) that has them; put them back afterwards.

    The rules read their constants from their modules when they decide, so this is the very code that decided, and no copy of
    it. Raises LookupError for a name that no module has.
    """
    modules = [sys.modules[name] for name in _modules(packages)]
    held = [(module, name, vars(module)[name]) for module in modules for name in values if name in vars(module)]
    if missing := values.keys() - {name for _, name, _ in held}:
        raise LookupError(f"no module of {', '.join(packages)} has a constant {min(missing)}")
    for module, name, _ in held:
        setattr(module, name, values[name])
    try:
        yield
    finally:
        for module, name, before in held:
            setattr(module, name, before)


def _modules(packages: Sequence[str]) -> list[str]:
    found = []
    for package in packages:
        module = importlib.import_module(package)
        found.append(package)
        if hasattr(module, "__path__"):
            inner = [f"{package}.{each.name}" for each in pkgutil.iter_modules(module.__path__)]
            found += [importlib.import_module(name).__name__ for name in inner]
    return found
