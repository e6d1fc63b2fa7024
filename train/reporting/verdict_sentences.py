"""The verdict in sentences: its meaning, the power of the sample, the next step; for console and report."""

from collections.abc import Iterator, Mapping
from typing import Any

from train.reporting.subjects import POLICY, Subject, subject_of

RIVAL_NAMES = {
    "base": "the base position (multiplier 1)",
    "constant": "its own mean exposure held",
}
NEXT = {  # for policies
    "EDGE": "play it on paper on candles that come from now on; what it multiplies stays the alternative",
    "NO EDGE": "keep the base position; try slower inputs (--features base trend), fewer decisions "
    "(--decide-every 24h) or more symbols (--pool)",
    "to": "more years or more symbols (--pool) would decide; until then the base position is the safe choice",
    "against": "keep the base position; more years could only show how much it loses",
}
NEXT_OWN = NEXT | {  # for rules and weights of a user, who has no flags of training
    "EDGE": "play it on paper on candles that come from now on; the base position stays the alternative",
    "NO EDGE": "keep the base position; try slower signals or fewer trades",
    "to": "more years would decide; until then the base position is the safe choice",
}


def sentences(result: Mapping[str, Any]) -> Iterator[str]:
    """Says what a verdict means, line by line; nothing for a result of before there were named rivals.

    Args:
        result: as result.json holds it.
    """
    rivals, power = result.get("rivals"), result.get("power")
    if not rivals or not power:
        return
    yield against_rival(result)
    if power["four_in_five"] is not None:
        yield what_is_found(power, result["verdict"])
    verdict = result["verdict"]
    steps = next_steps(subject_of(result))
    yield f"next: {steps.get(verdict['word']) or steps[verdict.get('leans') or 'against']}"
    if rules := result.get("rules"):
        yield beside_rules(rules)


def next_steps(subject: Subject) -> dict[str, str]:
    """Advice by verdict and leaning."""
    return NEXT if subject is POLICY else NEXT_OWN


def headline(verdict: Mapping[str, Any]) -> str:
    """Words the verdict, and where it leans."""
    leans, probability = verdict.get("leans"), verdict.get("probability")
    if verdict["word"] != "INCONCLUSIVE" or leans is None or probability is None:
        return str(verdict["word"])
    sure = probability if leans == "to" else 1 - probability
    return f"INCONCLUSIVE, leaning {'to' if leans == 'to' else 'against'} an edge ({sure:.0%})"


def against_rival(result: Mapping[str, Any]) -> str:
    """Words the multiplier, or a user's rule or weights, against the position that it is hardest to be ahead of."""
    name, subject = result["agent"]["sharpe_difference"]["baseline"], subject_of(result)
    rival, sharpe = result["rivals"][name], result["agent"]["sharpe"] or 0
    gain = rival["difference"]
    lead = f"{subject.does('add')} {gain:+.2f}" if gain >= 0 else f"{subject.does('cost')} {-gain:.2f}"
    return (
        f"{lead} Sharpe against {RIVAL_NAMES.get(name, name)}: {sharpe:.2f} instead of {rival['sharpe']:.2f} "
        f"(one-sided p {rival['p']:.3f}); one bar late {rival['late']:+.2f}"
    )


def what_is_found(power: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """Words the true difference that this sample finds, and the years that one of this size needs."""
    line = (
        f"{power['years']:.1f} years of this policy find a true difference of {power['even_odds']:.2f} Sharpe at even "
        f"odds, one of {power['four_in_five']:.2f} in 4 samples of 5"
    )
    needed = power.get("years_needed")
    if verdict["word"] == "EDGE" or needed is None:
        return line
    return f"{line}; one of this size needs {needed:,.0f} years" if needed < 1000 else line


def beside_rules(rules: Mapping[str, Any]) -> str:
    """Words the policy beside the simple rules."""
    where = "the best on validation" if rules["chosen_on"] == "validation" else "the best here, in hindsight"
    return (
        f"beside the simple rules: {rules['difference']:+.2f} Sharpe to {rules['rule']}, {where} (one-sided p "
        f"{rules['p']:.3f}); ahead of all {len(rules['by_rule'])} of them: p {rules['all_p']:.3f}"
    )
