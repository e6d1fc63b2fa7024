"""Device of a simulation, and the form of its program there.

An accelerator spends its time on launches: a bar takes as many microseconds as it has kernels, for one account or for a
thousand. A host spends its time on arithmetic, hence on accounts. So few accounts are simulated on the host.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Form(NamedTuple):
    """Settings of programs for a kind of device; their results are the same."""

    policy_bars: int  # that a step of the loop plays, a policy among them
    account_bars: int  # that it plays where weights are given
    seeds_at_once: bool  # rather than one after the other
    parts: int  # lanes that the bars of a short row of accounts are cut into
    shortest_part: int  # bars
    batch_bytes: int  # of the paths that are on the device at once
    return_bytes: int  # of given weights that are on the device at once
    most_lanes: int  # of given weights that are played at once
    kernel: bool = False  # one kernel for all bars of given weights, where only returns are wanted: `walk_lanes`


HOST = Form(
    policy_bars=1,
    account_bars=1,
    seeds_at_once=False,
    parts=64,  # vector units are full
    shortest_part=256,
    batch_bytes=2**26,
    return_bytes=2**25,  # small enough for the allocator to reuse; paging in fresh memory takes longer than the account
    most_lanes=256,
)
CARD = Form(
    policy_bars=4,  # 7 kernels a bar, of which 4 are the forward pass; 8 bars save 0.2 and compile twice as long
    account_bars=8,
    seeds_at_once=True,
    parts=2**17,  # threads that a large card holds
    shortest_part=128,
    batch_bytes=2**28,
    return_bytes=2**28,
    most_lanes=2**17,
)

HOST_BAR = 1.0  # microseconds of a bar of a policy on the host, besides its products
HOST_PRODUCTS = 40_000  # products of a forward pass that the host does in a microsecond
HOST_ACCOUNTS = 200  # accounts of one asset whose bar the host plays in a microsecond
CARD_POLICY_BAR = 30.0  # microseconds of the launches of a bar, a policy among them
CARD_ACCOUNT_BAR = 6.0  # those where weights are given
FORGOTTEN = 32  # bars after which the initial weights of an account that trades do not matter


class Place(NamedTuple):
    """A device, with the form of programs for it."""

    device: Any  # None: the default one
    form: Form

    def put(self, tree: Any) -> Any:
        """Puts arrays where the program runs."""
        return tree if self.device is None else jax.device_put(tree, self.device)


def hosts() -> list[Any]:
    """Returns the host as a device of jax; none where JAX_PLATFORMS names the accelerator alone."""
    try:
        return jax.local_devices(backend="cpu")
    except RuntimeError:
        return []


def form_of(platform: str | None = None) -> Form:
    """Returns the form for a kind of device; None: the default one."""
    return HOST if (platform or jax.default_backend()) == "cpu" else CARD


class Work(NamedTuple):
    """Size of a simulation."""

    bars: int  # S, one after the other
    accounts: int  # B side by side; of given weights the assets are counted
    policies: int = 0  # K; 0: weights are given
    parameters: int = 0  # P of one policy
    parts: int = 1  # lanes that the bars of given weights are cut into on a card


def place(work: Work, devices: Sequence[Any] | None = None) -> Place:
    """Chooses the default device, or the host where launches would take longer than the host's arithmetic.

    Compares, in microseconds, with K policies of P parameters on B accounts over S bars:

        host: S K (1 + B P / 40,000), or S B / 200 where weights are given
        card: 30 S, or 6 S where weights are given (6 (S / parts + 32) cut in time), whatever K and B

    So a backtest of few cells and the single account of a null market run on the host.

    Args:
        work: size of the simulation.
        devices: the default one, then the host's; None: those of jax. Without a host among them the default one.
    """
    bars, accounts, policies, parameters, parts = work
    default, *others = devices if devices is not None else (jax.local_devices()[0], *hosts())
    host = next((each for each in others if each.platform == "cpu"), None)
    if default.platform == "cpu" or host is None:
        return Place(None, form_of(default.platform))
    if policies:
        on_host = bars * policies * (HOST_BAR + accounts * parameters / HOST_PRODUCTS)
        on_card = bars * CARD_POLICY_BAR
    else:
        on_host = bars * accounts / HOST_ACCOUNTS
        on_card = (bars if parts == 1 else bars / parts + FORGOTTEN) * CARD_ACCOUNT_BAR
    return Place(host, HOST) if on_host <= on_card else Place(None, CARD)


def place_policies(variables: Any, bars: int, accounts: int, policies: int, in_turn: int = 1) -> Place:
    """Chooses the device of policies: `place` by the number of their parameters.

    Args:
        variables: leaves (in_turn, policies, ...), or (policies, ...) for one turn.
        bars: S.
        accounts: B of each policy.
        policies: K that act at a bar.
        in_turn: number of such groups, one after the other.
    """
    parameters = sum(np.size(x) for x in jax.tree.leaves(variables)) // (policies * in_turn)
    return place(Work(bars, accounts, policies, parameters))
