"""Writes the first screen of a report: the verdict, why, what to do next, and what it is in money."""

from collections.abc import Iterator
from html import escape
from typing import Any

from himari_jax.times import YEAR_MS
from train.reporting.facts import capital_of, market_of, symbols_of
from train.reporting.formats import sentence
from train.reporting.page import row, table, tag
from train.reporting.plots import epoch
from train.reporting.run_files import Run
from train.reporting.subjects import POLICY, subject_of
from train.reporting.verdict_sentences import against_rival, headline, sentences
from train.reporting.walk_sentences import caution, span

MEANING = {
    "EDGE": "costs included, {learned} did better than {beside}, by more than chance explains, also one bar late.",
    "NO EDGE": "costs included, {learned} did not add anything worth having to {beside}.",
    "INCONCLUSIVE": "costs included, this sample can neither confirm nor exclude that {adds} something.",
}
COLUMNS = {"with the base position alone": "base", "with its own mean exposure held": "constant"}


def header(run: Run) -> str:
    """Writes the verdict, what it means, why, what to do next, and the money, as HTML."""
    result, verdict = run.result, run.result["verdict"]
    word = str(verdict.get("word", "-"))
    kind = word.lower().replace(" ", "-") if word in MEANING else "other"
    leaning = headline(verdict).removeprefix(word).lstrip(", ") if word in MEANING else ""
    meaning = meaning_of(result, word) if word in MEANING else ""
    reason = f"{sentence(str(verdict.get('reason', '')))}."
    named = bool(result.get("rivals") and result.get("power"))
    lead = f"{sentence(against_rival(result))}." if named else reason
    synthetic = '<p class="synthetic"><strong>SYNTHETIC</strong> These candles were made by chance.</p>'
    points = [*([f"Why: {reason}"] if named else []), *notes(run), *warning(result), *advice(result)]
    parts = [
        tag("p", subject(run), "what"),
        f'<h1 class="{kind}">{escape(word)}{tag("small", leaning) if leaning else ""}</h1>',
        synthetic if result.get("synthetic") else "",
        tag("p", meaning, "meaning"),
        tag("p", lead, "reason"),
        next_step(result),
        money(run),
        f"<ul>{''.join(tag('li', point) for point in points)}</ul>",
    ]
    return "".join(parts)


def meaning_of(result: dict[str, Any], word: str) -> str:
    """Words the meaning of a verdict on what was evaluated, and whether training had seen the candles."""
    words = subject_of(result)
    unseen = words is POLICY and not result.get("doubts")
    text = MEANING[word].format(learned=words.learned, beside=words.beside, adds=words.does("add"))
    return f"On {'candles it never saw' if unseen else 'these candles'}, {text}"


def subject(run: Run) -> str:
    """Words what was evaluated: symbols, policy and span."""
    result = run.result
    name = str(result.get("span", "test"))
    test = (result.get("spans") or {}).get(name)
    called = f"{name} span" if name.isalpha() else "span"
    when = f", {called} {test[0][0][:10]} to {test[-1][1][:10]}" if test else ""
    when = f", {blocks}" if (blocks := span(result)) else when
    pool = ", an account each, held in equal shares" if result.get("by_symbol") else ""
    return f"{' '.join(symbols_of(run))}{pool}, policy {result.get('policy', '-')}{when}"


def next_step(result: dict[str, Any]) -> str:
    """Writes what to do next as HTML; nothing for a result of before there were named rivals."""
    steps = [text.removeprefix("next: ") for text in sentences(result) if text.startswith("next: ")]
    return "".join(f'<p class="next"><strong>Next:</strong> {escape(text)}.</p>' for text in steps)


def money(run: Run) -> str:
    """Writes what the money at the start became: with the policy, with what it multiplies, and what costs took."""
    capital, agent = capital_of(run), run.result["agent"]
    if agent.get("final_equity") is None:
        return ""
    policy = agent["final_equity"]
    rows = [row("with the policy", f"{capital * policy:,.0f}", f"{policy - 1:+.1%}", kind="agent")]
    for name, key in COLUMNS.items():
        end = (run.result["baselines"].get(key) or {}).get("final_equity")
        if end is not None:
            rows.append(row(name, f"{capital * end:,.0f}", f"{end - 1:+.1%}"))
    return table([f"{capital:,.0f} became", "", ""], rows, terms(run), "money")


def terms(run: Run) -> str:
    """Words what trading cost and what the account was allowed to hold."""
    market, base, drag = market_of(run), run.result.get("base") or {}, run.result["agent"].get("cost_drag")
    said = []
    if drag is not None:
        said.append(f"Included: costs of {drag:.2%} of the account a year{paid(run, drag)}{fee(run)}")
    sizing = base.get("sizing") or market.get("base_sizing")
    if sizing:
        said.append(f"Base sizing: {sizing}")
    if "max_position_pct" in market:
        gross = f", {market['max_gross']:.0%} in all" if "max_gross" in market else ""
        said.append(f"Caps: {market['max_position_pct']:.0%} of equity in a symbol{gross}")
    return "".join(f"{text}. " for text in said).strip()


def fee(run: Run) -> str:
    """Words the fee and the slippage of a trade; empty where they are unknown."""
    market, own = market_of(run), run.result.get("own_cost")
    if own is not None:
        return f", at {own:g} bp of what is traded"
    if "commission_rate" not in market:
        return ""
    slippage = market.get("slippage_bps", 0.0)
    return f", at {1e4 * market['commission_rate']:g} bp of what is traded" + (
        f" and {slippage:g} bp of slippage" if slippage else ""
    )


def paid(run: Run, drag: float) -> str:
    """Words what costs took in money, the yearly share of the mean account; empty where its curve is not there."""
    if run.frame is None or len(run.frame) < 2:
        return ""
    time = epoch(run.frame)
    years = (time[-1] - time[0]) / YEAR_MS
    taken = capital_of(run) * drag * years * float(run.frame["equity"].mean() or 0.0)  # type: ignore[arg-type]
    return f", about {taken:,.0f} in {years:.1f} years"


def notes(run: Run) -> Iterator[str]:
    """Words the sentences under the verdict."""
    result = run.result
    if result.get("rivals"):
        lines = [text for text in sentences(result) if not text.startswith("next: ")]
        yield from (f"{sentence(text)}." for text in lines[1:])
        return
    difference = result["agent"].get("sharpe_difference")
    info = str(result["verdict"].get("reason", ""))
    if difference and None not in difference["interval"] and f"{difference['value']:+.2f}" not in info:
        low, high = difference["interval"]
        yield (
            f"Sharpe minus that of {difference['baseline']}, the best baseline: {difference['value']:+.2f}, "
            f"95 % interval {low:+.2f} to {high:+.2f} (paired stationary bootstrap)."
        )
    smallest = result.get("minimum_detectable_sharpe")
    if smallest is not None and "could confirm" not in info:
        yield f"The smallest Sharpe that this sample could confirm: {smallest:.2f}."
    if (value := result.get("deflated_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above what the best of all trials owes to chance: {value:.3f}."
    elif (value := result.get("probabilistic_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above 0: {value:.3f}."


def warning(result: dict[str, Any]) -> Iterator[str]:
    """Words what a walk-forward test over several symbols owes to hindsight."""
    if "walk_forward" in result and (text := caution(result)):
        yield f"{sentence(text)}."


def advice(result: dict[str, Any]) -> Iterator[str]:
    """Words the advice on a result."""
    yield from (f"Advice: {text}." for text in result.get("advice") or ())
