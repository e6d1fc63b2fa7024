"""`python -m train.doctor`: is this installation sound on this machine? Versions, laws, speed, what to do."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError

PROG = invocation("train.doctor")


@dataclass(frozen=True)
class DoctorConfig:
    """Examine installation and device: versions, the laws that hold on any device, steps per second of the three
    models, what is wrong and what to do. Exit code 1 where something is wrong."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    deterministic: bool = False
    """On a GPU, the same sums every time: then a resumed run is compared bit for bit."""
    json: Path | None = None
    """FILE.json that holds what was found."""
    debug: bool = False
    """Show the traceback of an error."""


def main(args: Sequence[str]) -> int:
    """Examines, prints as it goes; 0 where everything is well, 1 where something is wrong."""
    doctor = parse(DoctorConfig, args, PROG)
    if doctor.json is not None and not doctor.json.absolute().parent.is_dir():
        raise InputError(f"--json {doctor.json}: there is no folder {doctor.json.parent}")
    from train.diagnosis.findings import Finding, examine
    from train.diagnosis.machine import describe_machine, devices_of_jax
    from train.diagnosis.table import finding_lines, machine_lines
    from train.distributed.devices import choose_device

    machine, findings = describe_machine(), []
    try:
        choose_device(doctor.device, doctor.deterministic)
        known: dict[str, Any] = devices_of_jax()
        machine = replace(machine, **known)
    except InputError as error:  # said with all that may be the reason
        text, _, remedy = str(error).partition("; ")
        findings.append(Finding(text, remedy))
    print(*machine_lines(machine), sep="\n", flush=True)
    findings += examine(machine)
    info: dict[str, Any] = {"machine": record(machine)}
    if machine.platform:
        laws, speeds = examine_device()
        info |= {"laws": [each.record() for each in laws], "speed": [asdict(each) for each in speeds]}
        broken = [each for each in laws if each.state == "WRONG"]
    else:
        broken = []
    print("installation and machine")
    lines = [line for finding in findings for line in finding_lines(finding)]
    print(*(lines or ["  ok"]), sep="\n")
    wrong = len(broken) + sum(finding.wrong for finding in findings)
    print(f"{wrong} wrong" if wrong else "all well", flush=True)
    if doctor.json is not None:
        from train.artifacts.files import write_json

        found = [finding.record() for finding in findings]
        write_json(doctor.json, {"command": "python -m train.doctor", "well": not wrong, **info, "findings": found})
    return 1 if wrong else 0


def record(machine: Any) -> dict[str, Any]:
    """Returns the machine as JSON, without the environment, which may hold secrets."""
    hidden = ("environment", "requirements")
    return {name: str(x) if isinstance(x, Path) else x for name, x in vars(machine).items() if name not in hidden}


def examine_device() -> tuple[list[Any], list[Any]]:
    """Checks the laws and measures the speeds, printed as they come."""
    from train.diagnosis.examination import DEFAULTS, compile_models, examine_laws, measure_speed
    from train.diagnosis.table import speed_lines, verdict_lines

    subjects = compile_models(DEFAULTS)
    print("laws: what each misses by, of what rounding explains")
    verdicts = []
    for verdict in examine_laws(subjects):
        verdicts.append(verdict)
        print(*verdict_lines(verdict), sep="\n", flush=True)
    print("training at the defaults")
    good = {name: begun.result() for name, begun in subjects.items() if begun.exception() is None}
    speeds = [measure_speed(name, subject) for name, subject in good.items()]
    print(*speed_lines(speeds), sep="\n", flush=True)
    return verdicts, speeds


if __name__ == "__main__":
    sys.exit(run_command(main))
