"""The repository as data: its files, its modules, its syntax trees."""

import ast
import importlib
import pkgutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("contracts", "domain", "commands", "projections", "adapters", "streams", "ops")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that belongs to the repository, as far as it exists."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every tracked file that is text."""
    for path in tracked():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file of these layers."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, tree(path)


def import_all(*folders: str) -> None:
    for folder in folders:
        package = importlib.import_module(folder)
        for module in pkgutil.walk_packages(package.__path__, f"{folder}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def files_of(layer: str, context: str) -> list[Path]:
    """A context in a layer: one module, or a package of several."""
    module = ROOT / layer / f"{context}.py"
    return [module] if module.exists() else sorted((ROOT / layer / context).rglob("*.py"))


def functions(node: ast.AST, name: str) -> Iterator[ast.FunctionDef]:
    for found in ast.walk(node):
        if isinstance(found, ast.FunctionDef) and found.name == name:
            yield found


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def imports(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every module that is imported anywhere in the file, inside functions too."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from ((alias.name, found) for alias in found.names)
        elif isinstance(found, ast.ImportFrom) and found.module and not found.level:
            yield found.module, found


def matched(node: ast.AST) -> set[str]:
    """The classes that are named in its `case` patterns."""
    found = set()
    for case in ast.walk(node):
        if isinstance(case, ast.MatchClass):
            found.add(case.cls.id if isinstance(case.cls, ast.Name) else ast.unparse(case.cls).rpartition(".")[2])
    return found


def is_closed(node: ast.Match) -> bool:
    """Whether its last case hands what is left to assert_never."""
    last = node.cases[-1]
    is_wildcard = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
    calls = [call.func.id for call in ast.walk(last) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    return is_wildcard and "assert_never" in calls
