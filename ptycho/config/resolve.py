"""Who wins: layers of values merged by precedence, each value keeping its origin."""

from collections.abc import Iterable, Sequence

from ptycho.config.origins import PRECEDENCE, Origin
from ptycho.config.sources import Layer


def ranked(layers: Iterable[Layer], order: Sequence[str] = PRECEDENCE) -> tuple[Layer, ...]:
    """Put layers in order, the strongest first, whatever order they are listed in.

    Args:
        layers: The layers; two of one kind need different levels.
        order: The kinds of layer, the strongest first.

    Returns:
        The layers in order.

    Raises:
        ValueError: A kind is not in the order, or two layers have the same standing.
    """
    standing: dict[tuple[int, int], Layer] = {}
    for layer in layers:
        key = order.index(layer.kind), -layer.level
        if standing.setdefault(key, layer) is not layer:
            raise ValueError(f"layers: expected one of each kind and level; got two of kind {layer.kind!r}.")
    return tuple(standing[key] for key in sorted(standing))


def stack(layers: Iterable[Layer]) -> dict[str, list[Layer]]:
    """Collect, for every name, the layers that speak of it, from layers in order."""
    stacked: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.values:
            stacked.setdefault(name, []).append(layer)
    return stacked


def merge(layers: Iterable[Layer], order: Sequence[str] = PRECEDENCE) -> dict[str, Origin]:
    """Pick the winner for every name that a layer speaks of.

    Args:
        layers: The layers in any order; two of one kind need different levels.
        order: The kinds of layer, the strongest first.

    Returns:
        Name -> the winning origin, with its value and the origins it shadows.
    """
    merged: dict[str, Origin] = {}
    for name, (winner, *beaten) in stack(ranked(layers, order)).items():
        merged[name] = winner.origin(name, tuple(layer.origin(name) for layer in beaten))
    return merged
