"""The policy card: training, test results, response curves and limits of a bundle."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from export.bundling.surfaces import Surface, surfaces
from export.runtime import Model
from himari_jax.candles import KINDS
from himari_jax.statistics.metric_table import METRICS

WIDTH, HEIGHT, LEFT, BOTTOM = 220, 110, 24, 18  # of a small plot, and what its axes take
MOST = 24  # surfaces shown
TONES = {"EDGE": "edge", "NO EDGE": "no-edge"}


def card(model: Model, observations: np.ndarray) -> str:
    """Renders the card of a bundle as a self-contained HTML page.

    Args:
        model: the bundle, verified.
        observations: (K, D) that the policy met in its test span.
    """
    manifest = model.manifest
    verdict = (manifest.get("backtest") or {}).get("verdict") or {}
    word = verdict.get("word") or "no verdict"
    found = surfaces(model, observations)
    sections = {
        "What it is": pairs(facts(model)),
        "What it was worth": pairs(test_results(manifest)),
        "How it answers": plots(model, found),
        "Where it must not be used": "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in limits(model)) + "</ul>",
    }
    return Template((files("export.bundling") / "assets" / "card.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{model.name} {model.version}"),
        tone=TONES.get(word, "inconclusive"),
        word=escape(word),
        reason=escape(verdict.get("reason") or "the run has no backtest"),
        sections="".join(f"<h2>{escape(name)}</h2>{body}" for name, body in sections.items()),
        footer=escape(f"SHA-256 of the manifest: {model.digest}. Nothing here is investment advice."),
    )


def pairs(values: Mapping[str, str]) -> str:
    """Renders names and values as an HTML list."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items()) + "</dl>"


def facts(model: Model) -> dict[str, str]:
    """Lists signature and training of a policy, by name."""
    manifest = model.manifest
    data, sizing = manifest.get("data") or {}, manifest["sizing"]
    spans = data.get("spans") or {}
    return {
        "policy": f"{manifest.get('policy', '')}, {model.width} numbers in, {len(model.places)} out",
        "symbols": ", ".join(model.symbols) + (" (a pool: one at a time)" if model.is_pool else ""),
        "bars": f"{manifest.get('bar', '')}, {manifest.get('decisions', '')}",
        "candles": f"{data.get('source', 'unknown source')}, {kind_of(manifest)}",
        **{f"{name} span": f"{span[0][0][:10]} to {span[-1][-1][:10]}" for name, span in spans.items() if span},
        "base position": f"{sizing['base_sizing']}, caps {model.rules.max_position_pct:g} of an asset, "
        f"{model.rules.max_gross:g} in all",
        "fill": str(model.fill or "not said"),
        "checkpoint": ", ".join(f"{k} {v}" for k, v in (manifest.get("checkpoint") or {}).items()),
        "made by": f"himari-jax {(manifest.get('made_by') or {}).get('himari_jax', '')}",
    }


def kind_of(manifest: Mapping[str, Any]) -> str:
    """Describes the kind of the volumes in training."""
    if manifest.get("synthetic"):
        return "made by chance"
    return KINDS.get(str((manifest.get("data") or {}).get("source_kind")), "kind of source not said")


def test_results(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Lists the figures of the test span."""
    agent = (manifest.get("backtest") or {}).get("agent") or {}
    shown = {
        "Sharpe": "sharpe",
        "max drawdown": "max_drawdown",
        "turnover a year": "turnover",
        "exposure": "exposure",
        "win rate": "win_rate_bar",
    }
    found = {name: format(agent[key], METRICS[key].form) for name, key in shown.items() if agent.get(key) is not None}
    interval = agent.get("sharpe_interval")
    if interval and None not in interval:
        found["Sharpe, 95 % interval"] = f"{interval[0]:.2f} to {interval[1]:.2f}"
    return found or {"test span": "not in this bundle"}


def limits(model: Model) -> list[str]:
    """Lists uses that the policy was not tested for."""
    manifest, rules = model.manifest, model.rules
    found = [
        f"on bars of another length than {manifest.get('bar')}, or fewer than {model.min_candles} of them in a row",
        "for other symbols than those above" if not model.is_pool else "for symbols that were not in the pool",
        f"beside positions beyond {rules.max_gross:g} times the equity, or short ones: training never held any",
        f"with fills other than {model.fill or 'those of training'}: the costs and the timing are part of the result",
    ]
    kind = (manifest.get("data") or {}).get("source_kind")
    if kind:
        found.append(f"on candles that are not {KINDS[kind]}: their volumes mean another thing")
    if manifest.get("synthetic"):
        found.append("on any market: it was trained on candles made by chance")
    table = model.drift
    if table is not None and table.windows:
        found.append("while its inputs drift: the paper loop and the server say so")
    if expiry := manifest.get("expires"):
        found.append(
            f"after {str(expiry)[:10]}: it was tested for as long as that after its training, and for no longer"
        )
    return found


def plots(model: Model, found: list[Surface]) -> str:
    """Renders small plots of the multiplier against each input."""
    drawn = "".join(
        plot(model, one, n) for one in found[:MOST] for n in range(len(model.places)) if is_shown(model, one, n)
    )
    memory = " Its memory is empty, as at the start of an episode." if model.carry_shapes else ""
    rest = f" The {MOST} of {len(found)} inputs that move it most." if len(found) > MOST else ""
    note = (
        "The mean multiplier as one input moves over what the test span showed, all others as they were; "
        f"the band holds four of five observations.{memory}{rest}"
    )
    return f'<p class="note">{escape(note)}</p><div class="grid">{drawn}</div>'


def is_shown(model: Model, one: Surface, n: int) -> bool:
    """Whether a surface is shown for an asset: the input is its own, or moves its multiplier."""
    return one.name.startswith(f"{model.places[n]}.") or float(np.ptp(one.mean[:, n])) > 0.02


def plot(model: Model, one: Surface, n: int) -> str:
    """Renders the plot of one surface for one asset."""
    span = one.inputs[-1] - one.inputs[0]
    x = LEFT + (WIDTH - LEFT - 4) * (one.inputs - one.inputs[0]) / span
    up = lambda values: 4 + (HEIGHT - BOTTOM - 4) * (1 - np.clip(values, 0, 2) / 2)  # noqa: E731
    line = points(x, up(one.mean[:, n]))
    band = points(np.concatenate([x, x[::-1]]), np.concatenate([up(one.low[:, n]), up(one.high[::-1, n])]))
    floor, middle, top = (float(up(np.array(level))) for level in (0, 1, 2))
    title = one.name if len(model.places) == 1 else f"{model.places[n]} against {one.name}"
    ends = (f"{one.mean[k, n]:.2f} at {one.inputs[k]:.3g}" for k in (0, -1))
    words = f"{title}: multiplier {', '.join(ends)}"
    ticks = ((2, top + 8), (1, middle + 4), (0, floor))
    scale = "".join(f'<text x="8" y="{place:.0f}">{level}</text>' for level, place in ticks)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<path class="axis" d="M{LEFT} {top:.1f}V{floor:.1f}H{WIDTH - 4}"/>'
        f'<path class="one" d="M{LEFT} {middle:.1f}H{WIDTH - 4}"/>'
        f'<polygon class="band" points="{band}"/><polyline class="mean" points="{line}"/>'
        f"{scale}"
        f'<text x="{LEFT}" y="{HEIGHT - 5}">{one.inputs[0]:.3g}</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT - 5}" text-anchor="end">{one.inputs[-1]:.3g}</text></svg>'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def points(x: np.ndarray, y: np.ndarray) -> str:
    """Renders the points of an SVG line."""
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
