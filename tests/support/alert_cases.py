"""Series for each Prometheus alert of the project: those at which it fires, and those at which it must not.

Values are in promtool's notation, a sample a minute: `5x99` is 5 a hundred times, `0+2x99` rises by 2.
"""

M, P = 'model="m"', 'model="m",account="policy"'
S, R = 'job="himari-serve",instance="a"', 'job="himari-serve",instance="a",route="/predict"'
KINDS = ("base", "lstm", "multi-asset")
AGE, AGE_B = (f'himari_paper_newest_candle_close_seconds{{{M},symbol="{x}"}}' for x in "ab")
BAR = f"himari_paper_bar_seconds{{{M}}}"


def info(kind="base", calendar="continuous", digest="h"):
    return {f'himari_paper_model_info{{{M},version="1",hash="{digest}",kind="{kind}",calendar="{calendar}"}}': "1x99"}


def served(kind="base", digest="h", instance="a", value=1):
    labels = f'job="himari-serve",instance="{instance}",name="m",version="1",hash="{digest}",kind="{kind}"'
    return {f"himari_model_info{{{labels}}}": f"{value}x99"}


def old(days):
    """A log of so many days."""
    return {f"himari_paper_bars_total{{{M}}}": f"{24 * days}x99", BAR: "3600x99"}


def gauge(name, labels, value):
    return {f"{name}{{{labels}}}": f"{value}x99"}


def tested(figure, value):
    return gauge("himari_paper_test_span", f'{M},figure="{figure}"', value)


def varies(deviation):
    return gauge("himari_paper_multiplier_deviation", M, deviation) | tested("multiplier_deviation", 0.1)


def latency(seconds, kind):
    """100 answers a minute that all lie in the bucket up to a bound."""
    bounds = (0.02, 0.05, 0.08, 0.1, 0.5)
    counts = [f"0+{100 if bound >= seconds else 0}x99" for bound in bounds]
    rows = {f'himari_request_seconds_bucket{{{R},le="{b}"}}': c for b, c in zip(bounds, counts, strict=True)}
    return rows | {f'himari_request_seconds_bucket{{{R},le="+Inf"}}': "0+100x99"} | served(kind)


def answers(good, bad):
    return {
        f'himari_requests_total{{{R},status="200"}}': f"0+{good}x99",
        f'himari_requests_total{{{R},status="409"}}': f"0+{bad}x99",
        f'himari_requests_total{{{S},route="other",status="404"}}': "0+500x99",  # somebody who searches for doors
    }


def rises(name, labels, at):
    """A counter that rises by 1 at a minute."""
    return {f"{name}{{{labels}}}": f"0x{at} 1x{99 - at}"}


def drifting(scores):
    """The recorded drift of features a, b, c, ..."""
    return {f'himari:input_drift:7d{{job="himari-serve",hash="h",feature="{k}"}}': f"{x}x99" for k, x in scores.items()}


def outside(rate):
    counts = {f'himari_input_outside_total{{{S},hash="h",feature="f"}}': f"0+{rate}x99"}
    bins = {f'himari_input_bin_total{{{S},hash="h",feature="f",bin="{k}"}}': "0+10x99" for k in range(10)}
    return counts | bins


# Alert, whether it fires, series; at the minute 99 and, where the alert waits, a sample an hour.
CASES = [
    ("HimariDown", True, gauge("up", S, 0)),
    ("HimariDown", False, gauge("up", S, 1) | gauge("up", 'job="node"', 0)),
    ("HimariNotReady", True, gauge("himari_ready", S, 0)),
    ("HimariNotReady", False, gauge("himari_ready", S, 1)),
    ("HimariParityBroken", True, gauge("himari_replay_largest_gap", M, 2e-6)),
    ("HimariParityBroken", True, gauge("himari_replay_differences", M, 1)),
    ("HimariParityBroken", False, gauge("himari_replay_largest_gap", M, 0) | gauge("himari_replay_differences", M, 0)),
    ("HimariCandlesOld", True, info() | {AGE: "0x99", AGE_B: "5000x99", BAR: "2400x99"}),  # 5,940 s
    ("HimariCandlesOld", False, info() | {AGE: "0x99", BAR: "3600x99"}),
    ("HimariCandlesOld", False, info(calendar="sessions") | {AGE: "0x99", BAR: "2400x99"}),  # it may be closed
    ("HimariOutputNotFinite", True, rises("himari_nonfinite_outputs_total", S, 90)),
    ("HimariOutputNotFinite", True, rises("himari_paper_nonfinite_total", M, 50)),
    ("HimariOutputNotFinite", False, rises("himari_nonfinite_outputs_total", S, 20)),
    ("HimariBundleRefused", True, rises("himari_rejected_bundles_total", S, 90)),
    ("HimariBundleRefused", False, gauge("himari_rejected_bundles_total", S, 3)),
    ("HimariWrongBundle", True, served(digest="other") | info()),
    ("HimariWrongBundle", True, served() | served(digest="other", instance="b")),
    ("HimariWrongBundle", False, served() | served(instance="b") | info()),
    ("HimariWrongBundle", False, served(digest="other")),  # no loop, nothing to compare with
    ("HimariErrors", True, rises("himari_unexpected_errors_total", S, 90)),
    ("HimariErrors", False, gauge("himari_unexpected_errors_total", S, 3)),
    ("HimariRefusals", True, answers(98, 2)),
    ("HimariRefusals", False, answers(200, 1)),
    *[("HimariLatency", True, latency(s, k)) for k, s in zip(KINDS, (0.08, 0.1, 0.5), strict=True)],
    *[("HimariLatency", False, latency(s, k)) for k, s in zip(KINDS, (0.05, 0.08, 0.1), strict=True)],
    ("HimariInputsOutside", True, outside(2)),
    ("HimariInputsOutside", False, outside(0.5)),
    (
        "HimariInputsOutside",
        True,
        gauge("himari_paper_outside_share", f'{M},lane="all",window="168",feature="f"', 0.02),
    ),
    (
        "HimariInputsOutside",
        False,  # on average of the features it is 0.6 %
        gauge("himari_paper_outside_share", f'{M},lane="all",window="168",feature="f"', 0.012)
        | gauge("himari_paper_outside_share", f'{M},lane="all",window="168",feature="g"', 0),
    ),
    ("HimariInputsDrift", True, gauge("himari_paper_drift_alarm", f'{M},lane="all",window="168"', 1)),
    ("HimariInputsDrift", False, gauge("himari_paper_drift_alarm", f'{M},lane="all",window="168"', 0)),
    (
        "HimariMultiplierStill",
        True,
        varies(0.02),
    ),
    (
        "HimariMultiplierStill",
        False,
        varies(0.03),
    ),
    ("HimariTurnover", True, gauge("himari_paper_turnover_yearly", P, 21) | tested("turnover", 10) | old(40)),
    ("HimariTurnover", False, gauge("himari_paper_turnover_yearly", P, 19) | tested("turnover", 10) | old(40)),
    ("HimariTurnover", False, gauge("himari_paper_turnover_yearly", P, 99) | tested("turnover", 10) | old(20)),
    ("HimariCost", True, gauge("himari_paper_cost_yearly", P, 0.016) | tested("cost", 0.01) | old(40)),
    ("HimariCost", False, gauge("himari_paper_cost_yearly", P, 0.014) | tested("cost", 0.01) | old(40)),
    ("HimariDrawdown", True, gauge("himari_paper_max_drawdown", P, -0.13) | tested("drawdown", -0.12)),
    ("HimariDrawdown", False, gauge("himari_paper_max_drawdown", P, -0.11) | tested("drawdown", -0.12)),
    ("HimariWorseThanBase", True, gauge("himari_paper_difference_yearly", f'{M},bound="high"', -0.01)),
    (
        "HimariWorseThanBase",
        False,
        gauge("himari_paper_difference_yearly", f'{M},bound="high"', 0.01)
        | gauge("himari_paper_difference_yearly", f'{M},bound="mean"', -0.01),
    ),
]
for alert, name, limits, step, days in (
    ("HimariDrawdownLimit", "himari_paper_max_drawdown", (-0.20, -0.18, -0.15), 0.001, 0),
    ("HimariWinRate", "himari_paper_win_rate", (0.52, 0.55, 0.58), 0.001, 91),
    ("HimariSharpe", "himari_paper_sharpe", (1.0, 1.2, 1.5), 0.01, 91),
):
    for kind, limit in zip(KINDS, limits, strict=True):
        for fires, value in ((True, limit - step), (False, limit + step)):
            CASES.append((alert, fires, gauge(name, P, round(value, 4)) | info(kind) | old(days)))
    if days:
        CASES.append((alert, False, gauge(name, P, -1) | info() | old(days - 2)))
WAITS_HOURS = ("HimariMultiplierStill", "HimariWinRate", "HimariSharpe")
