"""Contents of an installed package."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("himari_jax", "envs", "train", "export")


def test_every_file_that_is_read_as_a_resource_is_packaged():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {
        path for name, globs in known.items() for glob in globs for path in (ROOT / name.replace(".", "/")).glob(glob)
    }
    folders = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.name in ("assets", "data")]
    resources = {path for folder in folders for path in folder.iterdir() if path.suffix not in (".py", "")}
    assert {path.suffix for path in resources} >= {".css", ".js", ".html", ".parquet"}
    assert resources <= packaged
