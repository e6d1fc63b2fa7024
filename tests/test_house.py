"""The law of the house: commands and rooms, imports downwards only, no circles, small files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("himari_jax", "envs", "train", "export")
# Packages and rooms from the ground up; each imports only what stands on a lower line, or itself.
FLOORS = (
    ("himari_jax",),
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
HOST = (
    *("candles", "checking", "times", "alignment", "features", "observation", "account", "sizing", "splits"),
    *("base_sizings", "base_positions", "baselines", "plugins", "metrics", "statistics", "errors", "command", "cli"),
    *("extras", "row_checks", "closing_hours", "sources.registry", "storage", "permutation"),
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
    """The package or room that a module lies in; a command's is the package itself."""
    parts = module.split(".")
    if parts[0] not in ("train", "export"):
        return parts[0]
    if module in PUBLIC:
        return module
    inside = len(parts) > 2 or FILES[module].name == "__init__.py"
    return ".".join(parts[:2]) if inside else parts[0]


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


def test_no_module_imports_itself_in_a_circle():
    left = {module: set(others) for module, others in OWN.items()}
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"circles among {sorted(left)}"


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
