"""Console blocks of README.md and docs/: runs commands in a scratch folder and prints the lines that a page shows.

A page asks for a block between cog's markers, and `make docs-output` writes it; nobody types a number. A block with
`long=NAME` takes minutes, so it keeps what stands there unless the environment's LONG names it. Inside a command
`.venv/bin/python` is this Python, `RUN` the newest run of the base policy, and `make` works in the tree.
"""

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ".venv/bin/python"
PORT = "8080"  # of the server, as pages say it
WIDTH = 118  # columns of a console
BASE = "*-mlp-BTC-USD"  # folder of the run of `make train`
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CHROMIUM = "--headless --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking"
CHROMIUM += " --disable-component-update --disable-sync --virtual-time-budget=20000"

Part = str | tuple[str, str]  # a line, or from a line to a line, each by a regular expression that it holds


@cache
def scratch() -> Path:
    """The folder in which commands run, and which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="himari-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def free_port() -> str:
    """A port that nobody listens on, for the server."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment of a command: this tree, and a console without colors."""
    own = {"PYTHONPATH": str(ROOT), "COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in os.environ.items() if name != "LONG"} | own


def newest_run() -> str:
    """Name of the newest run of the base policy; RUN itself while there is none."""
    runs = sorted(path.name for path in (scratch() / "runs").glob(BASE))
    return runs[-1] if runs else "RUN"


def as_run(command: str) -> str:
    """The command with this Python, this tree's Makefile, the run's name and the server's port in it."""
    command = re.sub(r"^make ", f"make --no-print-directory -C {ROOT} ", command)
    command = re.sub(r"\bRUN\b", newest_run(), command.replace(PYTHON, sys.executable))
    return command.replace(f":{PORT}", f":{free_port()}").replace(f"--port {PORT}", f"--port {free_port()}")


def as_shown(text: str) -> str:
    """Output without escapes, blanks at line ends, and the names of this machine's folders."""
    text = ESCAPES.sub("", text).replace(newest_run(), "RUN").replace(free_port(), PORT)
    text = text.replace(f"{scratch()}/", "").replace(f"{ROOT}/", "").replace(sys.executable, PYTHON)
    return "\n".join(line.rstrip() for line in text.splitlines())


@cache
def run(command: str, *codes: int) -> str:
    """Returns what a command prints on both streams; the same command runs once.

    Args:
        command: as a page shows it.
        codes: exit codes with which it may end, 0 without one.

    Raises:
        RuntimeError: it ends with another exit code.
    """
    print(f"running {command}", file=sys.__stderr__, flush=True)
    done = subprocess.run(
        as_run(command),
        shell=True,
        executable="/bin/bash",
        cwd=scratch(),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = as_shown(done.stdout)
    if done.returncode not in (codes or (0,)):
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{text[-2000:]}")
    return text


def choose(text: str, parts: tuple[Part, ...], width: int | None = None) -> str:
    """The lines that the parts name, in order, with `...` for what lies between; all of them without a part.

    Raises:
        RuntimeError: no line matches.
    """
    lines = text.strip("\n").splitlines()
    chosen: list[str] = []
    at = 0
    for part in parts or (("", ""),):
        first, last = (part, part) if isinstance(part, str) else part
        start = find(lines, first, at)
        stop = (find(lines, last, start) if last else len(lines) - 1) + 1
        chosen += ["..."] if start > at and chosen else []
        chosen += lines[start:stop]
        at = stop
    return "\n".join(line if width is None or len(line) <= width else line[:width] + "..." for line in chosen)


def find(lines: list[str], pattern: str, start: int) -> int:
    """Index of the first line from `start` on that holds the pattern."""
    for index in range(start, len(lines)):
        if re.search(pattern, lines[index]):
            return index
    raise RuntimeError(f"no line holds {pattern!r} in:\n" + "\n".join(lines[-60:]))


def block(*texts: str) -> None:
    """Prints texts as one fenced console block."""
    print("\n```console\n" + "\n".join(texts) + "\n```\n")


def kept(long: str | None) -> bool:
    """Whether a long block is left as it is; prints what stands there."""
    if long is None or long in os.environ.get("LONG", "").split():
        return False
    import cog  # the module that cog makes while it runs a page

    print(cog.previous, end="")
    return True


def show(
    command: str,
    *parts: Part,
    shown: str | None = None,
    prompt: bool = True,
    code: int = 0,
    width: int | None = None,
    long: str | None = None,
) -> None:
    """Prints a command and what it printed.

    Args:
        command: as a reader types it.
        parts: which lines; all without one.
        shown: what to show instead of the command.
        prompt: whether the command stands above its output.
        code: exit code that the command must end with.
        width: longer lines are cut there.
        long: name of a long block.
    """
    if not kept(long):
        head = [f"$ {shown or command}"] if prompt else []
        block(*head, choose(run(command, *[code] * (code != 0)), parts, width))


def base_run() -> None:
    """The run of `make train`, once."""
    run(f"{PYTHON} -m train.ppo")


def write(name: str) -> None:
    """Writes the Python block below `<!-- file: NAME -->` of the page that asks into the scratch folder."""
    import cog  # the module that cog makes while it runs a page

    page = cog.inFile
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n+```python\n(.*?)```", text, re.DOTALL)
    if found is None:
        raise RuntimeError(f"{page}: no Python block below <!-- file: {name} -->")
    (scratch() / name).write_text(found[1], encoding="utf-8")


@cache
def serve(arguments: str) -> None:
    """Starts `python -m export.server` and waits until it is ready.

    Raises:
        RuntimeError: it is not ready after a minute.
    """
    command = [sys.executable, "-m", "export.server", *arguments.split(), "--port", free_port(), "--quiet"]
    server = subprocess.Popen(
        command, cwd=scratch(), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    atexit.register(server.terminate)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{free_port()}/health/ready", timeout=1)
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    raise RuntimeError(f"export.server {arguments}: not ready after a minute")


def paste(command: str, path: str, long: str, copy: str | None = None) -> None:
    """Prints a Markdown file that a command wrote, and copies another file of its folder beside the pages.

    What the same command has finished in this repository's own folder is not run again.
    """
    if not kept(long):
        done = ROOT / Path(path).parent
        if done.is_dir():
            shutil.copytree(done, scratch() / Path(path).parent, dirs_exist_ok=True)
        run(command, 0, 1)
        print("\n" + (scratch() / path).read_text(encoding="utf-8").strip() + "\n")
        if copy is not None:
            shutil.copy(scratch() / copy, ROOT / "docs")


def cut_off(command: str, *parts: Part, after: str, code: int, long: str) -> None:
    """Prints a command that loses its bucket (an emulator) once a line of its output holds `after`."""
    if kept(long):
        return
    emulator = start_bucket()
    process = subprocess.Popen(
        as_run(command).split(),
        cwd=scratch(),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if re.search(after, line):
            emulator.terminate()
    if process.wait() != code:
        raise RuntimeError(f"{command}: exit code {process.returncode}, not {code}\n{''.join(lines[-20:])}")
    block(f"$ {command}", choose(as_shown("".join(lines)), parts))


def start_bucket() -> subprocess.Popen:
    """An empty bucket `desk` of an emulator, which all later commands find."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    tool = Path(sys.executable).with_name("gcp-storage-emulator")
    options = ["--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", "desk"]
    emulator = subprocess.Popen([tool, "start", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(emulator.terminate)
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    return emulator


def picture(link: str, text: str, path: str, size: tuple[int, int], long: str) -> None:
    """Prints the link to a picture of the top of a report, taken anew by Chromium where LONG asks for it."""
    print(f"\n![{text}]({link})\n")
    if long in os.environ.get("LONG", "").split():
        profile, target = scratch() / "chromium", ROOT / "docs" / Path(link).name
        options = f"{CHROMIUM} --user-data-dir={profile} --window-size={size[0]},{size[1]}"
        run(f"chromium {options} --screenshot={target} file://{scratch()}/{path}")
