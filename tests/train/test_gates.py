import math

import pytest

from himari_jax.errors import InputError
from train.evaluation import gates
from train.evaluation.gates import Gate, GateResult, check_gates, find_gates, load_gates

GOOD = {
    "sharpe": 1.6,
    "sharpe_interval": [1.55, 3.1],
    "herfindahl": 0.4,
    "win_rate_bar": 0.6,
    "max_drawdown": -0.10,
    "max_drawdown_interval": [-0.22, -0.05],
}


def by_name(outcomes):
    return {outcome.name: outcome for outcome in outcomes}


def refused(tmp_path, text, match):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        load_gates(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_built_in_gates_are_those_of_the_training_plan():
    said = {
        name: [(g.metric, g.comparison, g.threshold, g.relative_to) for g in gates.GATES[name]] for name in gates.GATES
    }
    assert said == {
        "base": [
            ("sharpe", ">", 1.0, None),
            ("win_rate_bar", ">", 0.52, None),
            ("max_drawdown", "<", 0.20, None),
        ],
        "lstm": [
            ("sharpe", ">", 0.2, "other"),
            ("win_rate_bar", ">", 0.55, None),
            ("max_drawdown", "<", 0.18, None),
        ],
        "multi": [
            ("sharpe", ">", 1.5, None),
            ("herfindahl", "<", 0.6, None),
            ("win_rate_bar", ">", 0.58, None),
            ("max_drawdown", "<", 0.15, None),
        ],
    }
    assert all(gate.metric in gates.METRICS for each in gates.GATES.values() for gate in each)


def test_a_pass_says_whether_it_lies_inside_the_noise():
    found = by_name(check_gates(gates.GATES["multi"], GOOD))
    assert all(outcome.passed for outcome in found.values())
    # 1.5 lies below 1.55, the drawdown of 15 % between 5 and 22 %, the rest has no interval
    assert found["sharpe"] == GateResult("sharpe", 1.6, 1.5, (1.55, 3.1), True, False)
    assert found["max_drawdown"] == GateResult("max_drawdown", 0.10, 0.15, (0.05, 0.22), True, True)
    assert found["herfindahl"] == GateResult("herfindahl", 0.4, 0.6, None, True, False)


def test_a_fail_can_lie_inside_the_noise_as_well():
    block = {**GOOD, "sharpe": 1.4, "sharpe_interval": [-0.5, 3.0], "max_drawdown": -0.16, "win_rate_bar": 0.58}
    found = by_name(check_gates(gates.GATES["multi"], block))
    assert (found["sharpe"].passed, found["sharpe"].inside_noise) == (False, True)
    assert not found["max_drawdown"].passed
    assert not found["win_rate"].passed  # 0.58 > 0.58 is false


@pytest.mark.parametrize(("comparison", "passes"), [(">", False), (">=", True), ("<", False), ("<=", True)])
def test_comparisons_at_the_threshold(comparison, passes):
    assert check_gates([Gate("x", "sharpe", comparison, 1.6)], GOOD)[0].passed is passes


def test_a_relative_gate_takes_the_paired_difference_or_else_the_plain_one():
    lstm = gates.GATES["lstm"][:1]
    plain = check_gates(lstm, GOOD, {"sharpe": 1.2})[0]
    assert plain == GateResult("sharpe_over_base", pytest.approx(0.4), 0.2, None, True, False)
    paired = check_gates(lstm, GOOD, {"sharpe": 1.2}, {"sharpe": (0.4, (-0.3, 1.1))})[0]
    assert paired == GateResult("sharpe_over_base", 0.4, 0.2, (-0.3, 1.1), True, True)
    assert check_gates(lstm, GOOD, differences={"sharpe": (0.4, (0.3, 1.1))})[0].inside_noise is False


def test_cash_counts_as_zero_in_a_difference_and_drawdowns_differ_by_size():
    cash = {"sharpe": None, "max_drawdown": 0.0}
    assert check_gates(gates.GATES["lstm"][:1], GOOD, cash)[0].value == 1.6
    shallower = Gate("x", "max_drawdown", "<", 0.02, "other")
    assert check_gates([shallower], GOOD, {"max_drawdown": -0.25})[0].value == pytest.approx(-0.15)
    turned = check_gates([shallower], GOOD, differences={"max_drawdown": (0.15, (0.05, 0.2))})[0]
    assert (turned.value, turned.interval) == (-0.15, (-0.2, -0.05))


@pytest.mark.parametrize("undefined", [None, math.nan])
@pytest.mark.parametrize("comparison", list(gates.COMPARISONS))
def test_what_is_undefined_passes_no_gate(undefined, comparison):
    block = {"sharpe": undefined, "sharpe_interval": [undefined, undefined]}
    outcome = check_gates([Gate("x", "sharpe", comparison, 0.0)], block)[0]
    assert math.isnan(outcome.value)
    assert (outcome.passed, outcome.interval, outcome.inside_noise) == (False, None, False)


def test_nothing_to_compare_with_and_missing_metrics_are_refused():
    with pytest.raises(InputError, match="sharpe_over_base: compares sharpe with another run"):
        check_gates(gates.GATES["lstm"], GOOD)
    with pytest.raises(InputError, match="gate herfindahl: herfindahl: not in this result; it has sharpe"):
        check_gates(gates.GATES["multi"], {"sharpe": 2.0})


def test_a_file_of_gates(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        [[gate]]
        name = "beats the old model"
        metric = "sharpe"
        comparison = ">="
        threshold = 0.2
        relative_to = "other"
        [[gate]]
        metric = "max_drawdown"
        comparison = "<"
        threshold = 1
        """
    )
    expected = (
        Gate("beats the old model", "sharpe", ">=", 0.2, "other"),
        Gate("max_drawdown", "max_drawdown", "<", 1.0),
    )
    assert load_gates(path) == find_gates(str(path)) == expected


def test_gates_are_found_by_name_or_file(tmp_path):
    assert find_gates("multi") is gates.GATES["multi"]
    with pytest.raises(InputError, match=r"--gate mutli: one of base, lstm, multi, or a file that ends in \.toml"):
        find_gates("mutli")
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        find_gates(str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match="directory"):
        load_gates(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"metric": '"sharp"'}, r"gate 1: metric 'sharp': one of sharpe, sortino"),
        ({"metric": "3"}, r"gate 1: metric 3: one of sharpe"),
        ({"metric": None}, r"gate 1: metric: missing"),
        ({"comparison": '"=="'}, r"gate 1: comparison '==': one of >, >=, <, <="),
        ({"threshold": '"1.0"'}, r"gate 1: threshold '1.0': a finite number"),
        ({"threshold": "nan"}, r"gate 1: threshold nan: a finite number"),
        ({"threshold": "true"}, r"gate 1: threshold True: a finite number"),
        ({"threshold": None}, r"gate 1: threshold: missing"),
        ({"relative_to": '"base"'}, r"gate 1: relative_to 'base': one of other"),
        ({"name": '" "'}, r"gate 1: name ' ': a text"),
        ({"treshold": "1.0"}, r"gate 1: key 'treshold': one of name, metric, comparison, threshold, relative_to"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(tmp_path, change, match):
    table = {"metric": '"sharpe"', "comparison": '">"', "threshold": "1.0", **change}
    text = "\n".join(f"{key} = {value}" for key, value in table.items() if value is not None)
    refused(tmp_path, f"[[gate]]\n{text}\n", match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no gate"),
        ("gate = []", "no gate"),
        ("gate = [1]", "no gate"),
        ('[gate]\nmetric = "sharpe"', "no gate"),
        ("[[gates]]", "gates: unknown"),
        ("[[gate]\n", "not TOML"),
    ],
)
def test_a_file_without_gates_is_refused(tmp_path, text, match):
    refused(tmp_path, text, match)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not TOML"):
        load_gates(path)


def test_an_outcome_reads_as_a_line():
    sharpe, drawdown = gates.GATES["multi"][0], gates.GATES["multi"][3]
    found = by_name(check_gates(gates.GATES["multi"], GOOD))
    assert gates.describe(sharpe, found["sharpe"]) == ("PASS sharpe: sharpe 1.600 > 1.5 (95 % interval 1.550 to 3.100)")
    assert gates.describe(drawdown, found["max_drawdown"]) == (
        "PASS max_drawdown: max_drawdown 0.100 < 0.15 "
        "(95 % interval 0.050 to 0.220, inside the noise: this sample cannot tell)"
    )
    lstm = gates.GATES["lstm"][0]
    line = gates.describe(lstm, check_gates([lstm], {"sharpe": 1.0}, {"sharpe": 0.9})[0])
    assert line == "FAIL sharpe_over_base: sharpe minus the other run's 0.100, not > 0.2 (no interval)"
    nothing = Gate("x", "sharpe", ">", 0.0)
    line = gates.describe(nothing, check_gates([nothing], {"sharpe": None})[0])
    assert line == "FAIL x: sharpe undefined, not > 0 (no interval)"
