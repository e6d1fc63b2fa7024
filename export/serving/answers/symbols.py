"""Symbols and source of an instance: all symbols of the model, or of a pool the one that the instance names."""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, UnsetType

from export.serving.models.model_store import ServedModel
from export.serving.requests.errors import invalid
from export.serving.requests.schemas import Instance
from himari_jax.errors import InputError


def asked_symbols(served: ServedModel, instance: Instance, field: str) -> tuple[str, ...]:
    """Returns the symbols of an instance, in the order of the observation.

    Of a pool it is the one that the candles name, or `base_position` beside a finished observation, which has no names.

    Raises:
        ApiError: 400; it names none of the pool's symbols, or several.
    """
    if not served.model.is_pool:
        return served.symbols
    given: dict[str, Any] | UnsetType
    if instance.candles is UNSET:
        given, place = instance.base_position, f"{field}.base_position"
    else:
        given, place = instance.candles, f"{field}.candles"
    if isinstance(given, UnsetType):
        what = f"missing; it names the symbol that the observation is of; {known(served)}"
        raise invalid(place, what, "missing_symbol")
    refuse_unknown(served, given, place)
    if len(given) != 1:
        what = f"{len(given)} symbols; this policy answers for one in an instance; {known(served)}"
        raise invalid(place, what, "one_symbol" if given else "missing_symbol")
    return tuple(given)


def refuse_source(served: ServedModel, instance: Instance, field: str) -> None:
    """Refuses an instance whose `source_kind` is not that of training.

    Raises:
        ApiError: 400.
    """
    if isinstance(instance.source_kind, UnsetType):
        return
    try:
        served.model.refuse_source(instance.source_kind)
    except InputError as error:
        raise invalid(f"{field}.source_kind", f'{error}; allowed: the same kind, or "any"') from None


def check_symbols(served: ServedModel, symbols: tuple[str, ...], given: Iterable[str], field: str, whole: bool) -> None:
    """Refuses symbols that the model does not know or the instance is not about, and missing ones where all are needed.

    Args:
        served: the model.
        symbols: of the instance.
        given: names found at the field.
        field: for messages.
        whole: whether every symbol of the instance must be there.
    """
    names = set(given)
    if names == set(symbols):  # the usual request
        return
    refuse_unknown(served, names, field)
    if others := sorted(names - set(symbols)):
        what = f"another symbol than {symbols[0]}, which this instance is about"
        raise invalid(f"{field}.{others[0]}", what, "one_symbol")
    if whole and (missing := [symbol for symbol in symbols if symbol not in names]):
        raise invalid(f"{field}.{missing[0]}", f"missing symbol; {known(served)}", "missing_symbol")


def refuse_unknown(served: ServedModel, given: Iterable[str], field: str) -> None:
    """Refuses a symbol that the policy was not trained on."""
    if unknown := sorted(set(given) - set(served.symbols)):
        raise invalid(f"{field}.{unknown[0][:64]}", f"unknown symbol; {known(served)}", "unknown_symbol")


def known(served: ServedModel) -> str:
    """Lists the symbols of the model for a message."""
    return f"this model knows {', '.join(served.symbols)}"
