"""README and docs: short enough, links that lead somewhere, commands and flags that exist, output that nobody typed."""

import base64
import hashlib
import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from himari_jax.features.market import ACCOUNT_FEATURES, MARKET_FEATURES, named_set
from himari_jax.plugins import FEATURE_SETS
from himari_jax.statistics.metric_table import METRICS

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
MOST_BYTES = 12_000  # of the README
OURS = ("himari_jax", "envs", "train", "export")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"-m ([a-z_][\w.]*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*")
BLOCK = re.compile(r"\[\[\[cog(.*?)\]\]\][^\n]*\n(.*?)^[^\n]*\[\[\[end\]\]\](?: \(sum: (\S{10})\))?", re.M | re.S)
FOREIGN = re.compile(r"\b(pip|docker|gcloud|git|printf)\b|prometheus --|#SBATCH")  # lines whose flags are other tools'


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page):
    """Anchors of the headings of a page, as GitHub and MkDocs both make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def flags_of(module):
    """Every flag in the help of a command."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(FLAG.findall(done.stdout)) | {"--help"}


@cache
def modules():
    """Our modules that a page calls by `python -m`."""
    named = {name for page in PAGES for name in MODULE.findall(read(page))}
    return sorted(name for name in named if name.split(".")[0] in OURS)


@pytest.fixture(scope="module")
def flags():
    """Flags of every command that a page names."""
    assert {"train.ppo", "train.backtest", "export.server"} <= set(modules())
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(modules(), pool.map(flags_of, modules()), strict=True))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_and_anchor_of_a_page_leads_somewhere(page):
    for target in LINK.findall(CODE.sub("", COMMENT.sub("", read(page)))):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        assert path.resolve().is_relative_to(ROOT / "docs") or page == "README.md", f"{page}: {target} leaves the site"
        assert not anchor or anchor in anchors(path.relative_to(ROOT)), f"{page}: {target}"


@pytest.mark.parametrize("module", modules())
def test_every_command_that_a_page_names_exists(module):
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_that_a_page_names_is_in_the_help_of_its_command(page, flags):
    for line in COMMENT.sub("", read(page)).splitlines():
        if FOREIGN.search(line):
            continue
        called = [name for name in MODULE.findall(line) if name in flags] or list(flags)
        known = set().union(*(flags[name] for name in called))
        for flag in FLAG.findall(line):
            group = flag.endswith(".") and any(name.startswith(flag) for name in known)  # as --oracle.*
            assert group or flag.rstrip(".-") in known, f"{page}: {flag} in: {line[:120]}"


@pytest.mark.parametrize("page", [*PAGES, "docs/console.py", "mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_no_page_names_a_folder_of_the_machine_it_was_written_on(page):
    assert not re.search(r"(?<![\w./:}])/(home|root|tmp|work|mnt|Users|opt)\b", read(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_console_block_is_written_by_a_command_and_by_nobody_else(page):
    text = read(page)
    for code, output, checksum in BLOCK.findall(text):
        assert "console." in code
        digest = hashlib.md5(output.encode(), usedforsecurity=False).digest()
        assert checksum == base64.b64encode(digest).decode()[:10], f"{page}: edited by hand: {output[:200]}"
    outside = BLOCK.sub("", text)
    assert "console" not in {language for language, _ in FENCE.findall(outside)}
    assert all(language for language, _ in FENCE.findall(text)), f"{page}: a fence without a language"


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_is_python(page):
    for language, code in FENCE.findall(read(page)):
        if language == "python":
            compile(code, page, "exec")


def test_the_makefile_says_what_each_target_does_and_has_those_that_pages_name():
    makefile = read("Makefile")
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert explained == set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    named = {name for page in PAGES for name in re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", read(page), re.MULTILINE)}
    assert named <= explained


def test_make_alone_lists_the_targets():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^ +train +\S", listed, re.MULTILINE)


def test_the_index_and_the_readme_list_every_page():
    for page in PAGES[1:]:
        name = Path(page).name
        assert f"(docs/{name})" in read("README.md")
        assert name == "index.md" or f"]({name})" in read("docs/index.md")


def test_the_table_of_inputs_names_them_in_their_order():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", read("docs/market.md"), re.MULTILINE)
    assert [name for _, name in rows] == [*MARKET_FEATURES, *ACCOUNT_FEATURES]
    assert [int(number) for number, _ in rows] == list(range(16))


def test_the_table_of_each_further_set_names_its_features_in_their_order():
    further = [name for name in FEATURE_SETS.names if name != "base"]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", read("docs/market.md"), re.MULTILINE)
    assert rows == [(name, feature) for name in further for feature in named_set(name).names]


def test_the_table_of_metrics_defines_each_once():
    section = read("docs/verdict.md").split("\n## Metrics\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(METRICS)
