"""Enters every configuration of a sweep in the trial ledger, and deflates the chosen one by them.

Which configuration is chosen stands before anything of this runs: the returns on the test span that are made here go
into the ledger, which needs them to tell which trials are alike and how far luck spreads, and are shown nowhere:
somebody could choose by them. Policies of other workers of a study are not at hand: their trials count as clusters of
their own, with the Sharpe ratio that they have on validation, until those workers enter what they know.
"""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import numpy as np

from himari_jax.statistics.metrics import zero_if_nan
from himari_jax.statistics.significance import deflated_sharpe, expected_maximum_sharpe
from train.config.ppo import Config
from train.config.vary import configure
from train.evaluation.book import CHOSEN, Trial
from train.evaluation.ledger import Ledger
from train.evaluation.sketches import clusters
from train.evaluation.trials import Counted, Evaluated, count_together, evaluated_on, is_new
from train.simulation.play import Cell, play_baselines, play_policies, single_history
from train.simulation.simulator import Simulator
from train.studies.sweep.sessions import Sessions
from train.studies.sweep.store import Finished, Store, Variables
from train.training.session import Session

# Of the account, what a simulator does not look at.
COSTS = ("commission_rate", "slippage_bps", "reward", "initial_capital")


class Played(NamedTuple):
    """A configuration on the test span, by the seed that validation chose."""

    trial: Trial  # as the ledger keeps it
    returns: np.ndarray  # (S,) simple


def count_trials(
    ledger: Ledger,
    base: Config,
    trials: Sequence[Finished],
    store: Store,
    own: Container[int],
    name: str,
    chosen: Finished,
    build: Callable[[Config], Session],
) -> dict[int, Played]:
    """Plays every configuration on the test span at its own cost and delay, and enters it in the ledger.

    Args:
        ledger: is added to where it does not know a trial.
        base: flags of the sweep.
        trials: that were trained; those without a score are left out.
        store: has the policies.
        own: numbers of the trials whose policies it has.
        name: of the sweep.
        chosen: the chosen trial; it is named as its run folder is, the others by their number.
        build: makes the run of a configuration.

    Returns:
        What was played, by number of the trial.
    """
    played: dict[int, Played] = {}
    simulators: dict[str, Simulator] = {}
    configs = {each.trial: configure(base, each.point) for each in trials if each.scores}
    for each in sorted((x for x in trials if x.scores), key=lambda x: place_of(configs[x.trial])):
        session, place = build(configs[each.trial]), place_of(configs[each.trial])
        if place not in simulators:
            simulators = {place: session.simulator("test", (session.config.market.delay,))}
        same = chosen.trial in own and each.config_hash == chosen.config_hash
        label = CHOSEN if same else str(each.trial)
        evaluated = evaluated_on(simulators[place], f"{name}/{label}", session.config_hash)
        if each.trial in own:
            variables = store.policies(each.trial)
            played[each.trial] = play(session, simulators[place], variables, each.best_seed, evaluated)
        else:
            played[each.trial] = stand_in(session, each, evaluated)
    entries = [each.trial for each in played.values()]
    ledger.update(lambda book: [trial for trial in entries if is_new(book, trial)])
    return played


def place_of(config: Config) -> str:
    """Key of the simulator that a configuration needs, as text."""
    account = {name: value for name, value in asdict(config.market).items() if name not in COSTS}
    return Sessions.key(config) + json.dumps(account, sort_keys=True, default=str)


def play(session: Session, simulator: Simulator, variables: Variables, best: int, evaluated: Evaluated) -> Played:
    """Plays one seed of a configuration on a whole span.

    Args:
        session: of the configuration.
        simulator: of the span, at the configuration's delay.
        variables: of all seeds, leaves (K, ...).
        best: index of the seed.
        evaluated: the configuration as the ledger knows it.
    """
    account = session.config.market
    one = jax.tree.map(lambda x: x[best : best + 1], variables)
    cells = [Cell(0, account.delay, account.cost)]
    history = single_history(play_policies(simulator, session.learner.policy, one, 0, cells, simulator.num_rows))
    beside = play_baselines(simulator, 0, account.delay, {account.cost: history}, ["base"])[account.cost]["base"]
    returns, base = (np.asarray(each.returns, np.float64) for each in (history, beside))
    return Played(evaluated.trial(session.seeds[best], returns, base), returns)


def stand_in(session: Session, each: Finished, evaluated: Evaluated) -> Played:
    """Makes the trial of a configuration whose policies another worker has: no sketch, the Sharpe of validation."""
    nothing = np.zeros(len(evaluated.times))
    trial = evaluated.trial(session.seeds[each.best_seed], nothing, nothing)
    per_bar = each.scores[each.best_seed] / trial.annual_factor
    return Played(trial._replace(sharpe=per_bar, sketch=None), nothing)


def deflated(ledger: Ledger, chosen: Played, own: Mapping[int, Played]) -> dict[str, Any]:
    """Deflates the chosen configuration by clusters of trials and by trials, for result.json.

    Args:
        ledger: with everything that counts.
        chosen: the configuration that the verdict is of.
        own: all configurations of the sweep.
    """
    counted = count_together(ledger.read(), chosen.trial)
    alone = Counted(counted.trials, np.arange(len(counted.trials)))
    bars = len(chosen.returns)
    found: dict[str, Any] = {
        "configurations": len({each.trial.key for each in own.values()}),
        "own_clusters": int(clusters([each.trial.sketch for each in own.values()]).max()) + 1,
    }
    for name, each in (("clusters", counted), ("trials", alone)):
        sharpes = each.sharpes(bars)
        found[name] = {
            "number": each.number,
            "luck": expected_maximum_sharpe(sharpes, bars) * chosen.trial.annual_factor,
            "deflated_sharpe": zero_if_nan(deflated_sharpe(chosen.returns, sharpes)),
        }
    return found
