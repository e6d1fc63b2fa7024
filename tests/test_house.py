"""The law of the house: commands and rooms, imports downwards only, no circles, small files."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("himari_jax", "envs", "train", "export")
# Packages and rooms from the ground up; each imports only what stands on a lower line, or itself.
FLOORS = (
    ("himari_jax",),  # the ground: what every room may need
    ("himari_jax.statistics", "himari_jax.checking"),
    ("himari_jax.features", "himari_jax.reading"),
    ("himari_jax.splits", "himari_jax.positions", "himari_jax.policies", "himari_jax.live"),
    ("himari_jax.onnx", "himari_jax.sources"),
    ("envs",),
    ("train.config", "train.distributed"),
    ("train.data",),
    ("train.learning",),
    ("train.artifacts",),
    ("train.simulation", "train.reporting"),
    ("train.evaluation",),
    ("train.backtesting", "train.oracles"),
    ("train.training",),
    ("train.studies",),
    ("train.diagnosis",),
    ("train.benchmarks",),
    ("train",),  # the commands
    ("export.runtime",),
    ("export.contents",),
    ("export.loading",),
    ("export.serving", "export.bundling", "export.benchmarks", "export.live"),
    ("export",),
)
# What serves knows nothing of what trains.
SERVING = ("export.serving", "export.runtime", "export.contents", "export.loading", "export.server", "export.check")
PUBLIC = {"export.runtime", "export.loading"}  # modules that are no commands: the library face of a bundle
ALONE = PUBLIC | {"himari_jax.splits"}  # modules that have a floor of their own
HOST = (
    *(
        "candles",
        "times",
        "account",
        "plugins",
        "errors",
        "command",
        "cli",
        "extras",
        "storage",
        "google_api",
        "user_code",
        "permutation",
        "splits",
    ),
    *("checking.candles", "checking.rows", "checking.closing_hours", "checking.alignment"),
    *("features.market", "features.observation", "sources.registry", "statistics.metrics", "statistics.significance"),
    *(f"positions.{name}" for name in ("sizing", "base_sizings", "base_positions", "baselines")),
)
MOST_LINES = 300


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, for type checking and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in members}
    return found


OWN = {name: {other for other in imports(path) if other in FILES} for name, path in FILES.items()}


def room(module: str) -> str:
    """The package or room that a module lies in; a module directly in a package belongs to the package itself."""
    parts = module.split(".")
    if module in ALONE:
        return module
    inside = len(parts) > 2 or FILES[module].name == "__init__.py"
    return ".".join(parts[:2]) if inside and parts[0] != "envs" else parts[0]


def floor(module: str) -> int:
    return next(k for k, rooms in enumerate(FLOORS) if room(module) in rooms)


def loaded_after(code: str) -> set[str]:
    """Modules in memory after a piece of code ran in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(run.stdout.split())


def test_every_folder_is_a_room_with_a_floor():
    assert {room(module) for module in FILES} == {name for rooms in FLOORS for name in rooms}


def test_rooms_import_downwards_only():
    upwards = [
        f"{module} imports {other}"
        for module, others in OWN.items()
        for other in others
        if room(other) != room(module) and floor(other) >= floor(module)
    ]
    assert not upwards


def remaining(graph: Mapping[str, set[str]]) -> set[str]:
    """Nodes of a graph that lie on a circle, or lead into one; empty without circles."""
    left = {node: set(others) for node, others in graph.items()}
    while free := [node for node, others in left.items() if not others & left.keys()]:
        for node in free:
            del left[node]
    return set(left)


def test_no_module_imports_itself_in_a_circle():
    assert not remaining(OWN)


def test_no_folder_imports_itself_in_a_circle():
    """At every level: the folders in a folder, and the modules beside them, import each other in one direction."""
    for folder in {name.rpartition(".")[0] for name in FILES} - {""}:
        graph = defaultdict(set)
        inside = f"{folder}."
        for module, others in OWN.items():
            if module.startswith(inside):
                child = module.removeprefix(inside).partition(".")[0]
                beside = {other.removeprefix(inside).partition(".")[0] for other in others if other.startswith(inside)}
                graph[child] |= beside - {child}
        assert not remaining(graph), folder


def test_what_serves_imports_neither_train_nor_envs():
    for module, others in OWN.items():
        if module.startswith(SERVING):
            assert not [other for other in others if other.split(".")[0] in ("train", "envs")], module


@pytest.mark.parametrize("package", ["train", "export"])
def test_a_module_directly_in_train_or_export_is_a_command(package):
    for path in (ROOT / package).glob("*.py"):
        if path.name == "__init__.py" or module_of(path) in PUBLIC:
            continue
        tree = ast.parse(path.read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body), path
        assert any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body), path


def test_every_folder_has_an_init_that_says_what_it_is_and_imports_nothing():
    folders = {path.parent for path in FILES.values()}
    for folder in folders:
        tree = ast.parse((folder / "__init__.py").read_text())
        assert ast.get_docstring(tree), folder
        assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], folder


@pytest.mark.parametrize("part", [*PACKAGES, "tests", "docs"])
def test_no_file_is_longer_than_300_lines(part):
    lengths = {str(path): len(path.read_text().splitlines()) for path in (ROOT / part).rglob("*.py")}
    assert not {path: lines for path, lines in lengths.items() if lines > MOST_LINES}


def test_only_the_environments_and_the_peers_import_gymnax():
    users = {module for module, path in FILES.items() if any(x.split(".")[0] == "gymnax" for x in imports(path))}
    assert all(room(user) == "envs" or user.startswith("train.benchmarks.peers") for user in users), users


def test_host_modules_do_not_need_jax():
    names = ", ".join(f"himari_jax.{name}" for name in HOST)
    # TA-Lib imports polars where it finds it; the server does not install it.
    assert not loaded_after(f"import {names}") & {"jax", "flax", "gymnax", "arch"}


def test_help_is_printed_before_jax_is_imported():
    code = "from train.ppo import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not loaded_after(code) & {"jax", "flax", "gymnax", "polars", "talib"}


LAZY = ("envs.base",)  # imports what it hands out when it is asked for


def defined(path: Path) -> set[str]:
    """Names that a file defines at any depth: functions, classes, assignments."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_a_name_is_imported_from_the_module_that_defines_it():
    names = {module: defined(path) for module, path in FILES.items() if module not in LAZY}
    elsewhere = []
    for path in [*FILES.values(), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in names:
                members = {alias.name for alias in node.names if f"{node.module}.{alias.name}" not in FILES}
                elsewhere += [f"{path}: {node.module}.{name}" for name in members - names[node.module]]
    assert not elsewhere


VAGUE = ("What", "Which", "That", "Why", "Of")  # a docstring names the thing, or says who does what to which thing


@pytest.mark.parametrize("part", [*PACKAGES, "tests", "docs"])
def test_docstrings_name_the_thing(part):
    vague = []
    for path in (ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "").partition(" ")[0]
                if first in VAGUE:
                    vague.append(f"{path}: {getattr(node, 'name', 'module')}")
    assert not vague
