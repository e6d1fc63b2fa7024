"""Prints the result of a run on a market with a known optimum."""

from pathlib import Path
from typing import Any

from train.config.ppo import Config
from train.reporting.console import console


def print_oracle(result: dict[str, Any], config: Config, folder: Path) -> None:
    """Value, optimum, ratio, regret; a line for each seed."""
    out = console()
    block = result["oracle"]
    out.print()
    out.print(f"{result['env']}, policy {result['policy']}, last iterate, utility per bar", soft_wrap=True)
    for name, value in (("optimum", block["optimum"]), (block["naive_name"], block["naive"])):
        out.print(f"  {name:32} {value:11.4e}", soft_wrap=True)
    for seed in result["seeds"]:
        out.print(f"  {'agent, seed ' + str(seed['seed']):32} {console_lines(seed)}", soft_wrap=True, style="bold")
    out.print(f"next: open {folder}/report.html; numbers in result.json", soft_wrap=True)


def console_lines(block: dict[str, Any]) -> str:
    """An agent's numbers as a line."""
    ratio = "" if block["ratio"] is None else f"  of the optimum {block['ratio']:.4f}"
    weights = " ".join(f"{x:.3f}" for x in block["weights"])
    return (
        f"{block['value']:11.4e} +- {block['error']:.0e}{ratio}  regret {block['regret']:.2e}  "
        f"turnover {block['turnover']:.4f} (best {block['optimal_turnover']:.4f})  mean weights {weights}"
    )
