"""Plug-ins: one new file or one new function each; its name is its command-line name.

A kind of plug-in is either the modules of a package that define a certain name, or the public functions of one module.
Names and help texts are read off the source text: flags are known before jax or a reader of files is imported.
"""

import ast
import importlib
import pkgutil
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from himari_jax.errors import InputError
from himari_jax.spelling import meant


@dataclass(frozen=True)
class Plugins:
    """The plug-ins of one kind."""

    flag: str  # that takes their names
    place: str  # dotted name of the module or the package that holds them
    hyphens: bool = False  # whether an underscore of a name is a hyphen on the command line

    @cached_property
    def summaries(self) -> dict[str, str]:
        """First line of each docstring, by command-line name."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """Names on the command line."""
        return tuple(self.summaries)

    def find(self, name: str, allowed: str = "one of", flag: str | None = None) -> str:
        """Finds the command-line name that a word stands for, hyphens and underscores alike.

        Args:
            name: the word.
            allowed: what the flag takes, before the names.
            flag: that took the word, where it is another one.

        Raises:
            InputError: there is no such plug-in; names the flag, and the name that was meant.
        """
        if name in self.summaries:
            return name
        alike = [known for known in self.names if known.replace("_", "-") == str(name).replace("_", "-")]
        if alike:
            return alike[0]
        where, names = flag or self.flag, ", ".join(self.names)
        raise InputError(f"{where} {name}: must be {allowed} {names}{meant(str(name), self.names)}")

    def settle(self, config: Any, field: str) -> None:
        """Replaces the name in a field of a frozen configuration by the command-line name that it stands for."""
        object.__setattr__(config, field, self.find(getattr(config, field)))

    def to_flag(self, name: str) -> str:
        """The command-line name of an identifier."""
        return name.replace("_", "-") if self.hyphens else name

    def to_identifier(self, name: str) -> str:
        """The identifier that a command-line name stands for."""
        return name.replace("-", "_") if self.hyphens else name


@dataclass(frozen=True)
class Functions(Plugins):
    """The public functions of the module `place`, in the order of their definition."""

    @cached_property
    def summaries(self) -> dict[str, str]:
        """First line of each function's docstring, by command-line name."""
        functions = [node for node in parse_module(self.place).body if isinstance(node, ast.FunctionDef)]
        return {self.to_flag(node.name): summary_of(node) for node in functions if not node.name.startswith("_")}

    def load(self, name: str) -> Any:
        """The function of that name.

        Raises:
            InputError: there is none.
        """
        return getattr(importlib.import_module(self.place), self.to_identifier(self.find(name)))


@dataclass(frozen=True)
class Modules(Plugins):
    """The modules of the package `place` that define `entry`, in alphabetical order."""

    entry: str = "make"

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Syntax tree of each module, by command-line name."""
        package = find_spec(self.place)
        assert package is not None
        modules = [found.name for found in pkgutil.iter_modules(package.submodule_search_locations)]
        public = sorted(name for name in modules if not name.startswith("_"))
        parsed = {self.to_flag(name): parse_module(f"{self.place}.{name}") for name in public}
        return {name: tree for name, tree in parsed.items() if self.entry in definitions(tree)}

    @cached_property
    def summaries(self) -> dict[str, str]:
        """First line of each module's docstring, by command-line name."""
        return {name: summary_of(tree) for name, tree in self.trees.items()}

    def load(self, name: str) -> ModuleType:
        """The module of that name, imported.

        Raises:
            InputError: there is none.
        """
        return importlib.import_module(f"{self.place}.{self.to_identifier(self.find(name))}")

    def defines(self, name: str, variable: str) -> bool:
        """Whether a module defines something at its top; without importing it."""
        return variable in definitions(self.trees[name])

    def constant(self, name: str, variable: str) -> Any:
        """The literal that a module assigns to a variable at its top, None where it does not; without importing it.

        Raises:
            InputError: the value is not a literal.
        """
        node = definitions(self.trees[name]).get(variable)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            return None
        try:
            return ast.literal_eval(node.value)
        except ValueError as error:
            where = f"{self.place}.{self.to_identifier(name)}"
            raise InputError(f"{where}: {variable} must be a literal, it is read without an import") from error


def parse_module(name: str) -> ast.Module:
    """The syntax tree of a module; its packages are imported, the module itself is not."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_bytes(), spec.origin)


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """The top-level definitions of a module by name: functions, classes, assignments."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def summary_of(node: ast.Module | ast.FunctionDef) -> str:
    """The first line of a docstring, empty where there is none."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


POLICIES = Modules("--policy", "himari_jax.policies", entry="make")
SOURCES = Modules("--source", "himari_jax.sources", entry="load")
BASE_SIZINGS = Functions("--base-sizing", "himari_jax.positions.base_sizings", hyphens=True)
FEATURE_FILE = re.compile(r"[A-Za-z0-9_+-]{1,64}\.py")  # a user's own: it becomes a file of the run and of the bundle
FEATURE_SETS = Functions("--features", "himari_jax.features.feature_sets")
BASELINES = Functions("--baselines", "himari_jax.positions.baselines")
