"""Lines of the examination, at most 80 letters each."""

import textwrap
from collections.abc import Iterable

from train.diagnosis.examination import Speed, Verdict
from train.diagnosis.findings import Finding
from train.diagnosis.machine import Machine

WIDTH = 80
LAW = 52  # letters of a law


def wrapped(text: str, first: str = "", then: str = "  ") -> list[str]:
    """Breaks a text into lines of at most 80 letters; paths and commands are never cut."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def machine_lines(machine: Machine) -> list[str]:
    """Words versions, device and memory."""
    lines = wrapped(", ".join(f"{name} {version}" for name, version in machine.versions.items()))
    where = f"{machine.devices} x {machine.device} ({machine.platform})" if machine.platform else "none"
    runtime = f", {machine.runtime}" if machine.platform not in ("cpu", "") else ""
    driver = f", driver {machine.driver}" if machine.driver else ""
    memory = [f"{machine.cores} cores"]
    if machine.host_mb is not None:
        memory.append(f"{machine.host_mb:,.0f} MB of memory")
    if machine.device_mb is not None:
        memory.append(f"{machine.device_mb:,.0f} MB of the device's own")
    return [*lines, *wrapped(f"device: {where}{runtime}{driver}; {', '.join(memory)}")]


def verdict_lines(verdict: Verdict) -> list[str]:
    """Formats a law: its state, its deviation and the most that rounding explains."""
    size = "" if verdict.error is None else f"{verdict.error:7.1g} of {verdict.most:g}"
    line = f"  {verdict.state:8}{verdict.law:{LAW}} {size}".rstrip()
    return [line, *(wrapped(verdict.note, " " * 10, " " * 10) if verdict.note else [])]


def speed_lines(speeds: Iterable[Speed]) -> list[str]:
    """Formats the speeds, a line for each model."""
    lines = [f"  {'model':8}{'envs':>6}{'steps/s':>14}{'compile s':>12}{'program MB':>13}"]
    for each in speeds:
        memory = "-" if each.program_mb is None else f"{each.program_mb:,.0f}"
        row = f"{each.num_envs:6,}{each.steps_per_second:14,.0f}{each.compile_seconds:12.1f}{memory:>13}"
        lines.append(f"  {each.model:8}{row}")
    return lines


def finding_lines(finding: Finding) -> list[str]:
    """Formats a fault with its remedy."""
    return wrapped(f"{finding.text} -> {finding.remedy}", "  WRONG   " if finding.wrong else "  note    ", " " * 10)
