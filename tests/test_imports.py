import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("himari_jax", "envs", "train", "export")
# Downwards only: what each package may import of the others.
ALLOWED = {
    "himari_jax": {"himari_jax"},
    "envs": {"envs", "himari_jax"},
    "train": {"train", "envs", "himari_jax"},
    "export": {"export", "train", "envs", "himari_jax"},
}
HOST = (
    "candles",
    "alignment",
    "features",
    "sizing",
    "base_sizings",
    "base_positions",
    "baselines",
    "plugins",
    "splits",
    "metrics",
    "statistics",
    "errors",
    "sources.registry",
)


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it, but for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
    return found


def loaded_after(code: str) -> set[str]:
    """Modules in memory after a piece of code ran in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(run.stdout.split())


def test_imports_go_downwards_only():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            own = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
            assert own <= ALLOWED[package], f"{path} imports {own - ALLOWED[package]}"


def test_only_the_environments_import_gymnax():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if any(name.split(".")[0] == "gymnax" for name in imports(path)):
                assert path.name in ("trading.py", "state.py") or path.parent.name in ("oracles", "peers"), path


def test_host_modules_do_not_need_jax():
    names = ", ".join(f"himari_jax.{name}" for name in HOST)
    # TA-Lib imports polars where it finds it; the server does not install it.
    assert not loaded_after(f"import {names}") & {"jax", "flax", "gymnax", "arch"}


def test_help_is_printed_before_jax_is_imported():
    code = "from train.ppo import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not loaded_after(code) & {"jax", "flax", "gymnax", "polars", "talib"}


def test_no_file_grows_beyond_an_evening():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 390, f"{path} has {lines} lines"
