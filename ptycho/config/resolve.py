"""Who wins: layers of values merged by precedence, each value keeping its origin."""

from collections.abc import Iterable, Sequence

from ptycho.config.origins import PRECEDENCE, Origin
from ptycho.config.sources import Layer


def stack(layers: Iterable[Layer], order: Sequence[str] = PRECEDENCE) -> dict[str, list[Layer]]:
    """Collect, for every name, the layers that speak of it, the strongest first.

    Args:
        layers: The layers in any order; two of one kind need different levels.
        order: The kinds of layer, the strongest first.

    Returns:
        Name -> layers. The result does not depend on the order in which the layers are listed.

    Raises:
        ValueError: A kind is not in the order, or two layers have the same standing.
    """
    standing: dict[tuple[int, int], Layer] = {}
    for layer in layers:
        key = order.index(layer.kind), -layer.level
        if standing.setdefault(key, layer) is not layer:
            raise ValueError(f"two layers: expected different levels; got two of kind {layer.kind!r}.")
    stacked: dict[str, list[Layer]] = {}
    for key in sorted(standing):
        for name in standing[key].values:
            stacked.setdefault(name, []).append(standing[key])
    return stacked


def merge(layers: Iterable[Layer], order: Sequence[str] = PRECEDENCE) -> dict[str, Origin]:
    """Pick the winner for every name that a layer speaks of.

    Args:
        layers: The layers in any order.
        order: The kinds of layer, the strongest first.

    Returns:
        Name -> the winning origin, with its value and the origins it shadows.
    """
    merged: dict[str, Origin] = {}
    for name, holders in stack(layers, order).items():
        winner, *beaten = holders
        merged[name] = winner.origin(name, tuple(layer.origin(name) for layer in beaten))
    return merged
