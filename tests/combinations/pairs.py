"""Pairwise coverage: few combinations that hold every pair of values that may stand together."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]
Rule = Mapping[str, Sequence[Any]]
"""Factor -> values; a combination that has one of the values of every factor is refused."""
Place = tuple[int, int]
"""A value: the number of its factor, and its own number there."""


def breaks(row: Row, rule: Rule) -> bool:
    """Whether a combination, complete or not, has what a rule refuses."""
    return all(name in row and row[name] in values for name, values in rule.items())


def pairwise(factors: Mapping[str, Sequence[Any]], rules: Sequence[Rule]) -> list[Row]:
    """Combinations that no rule refuses and that hold every allowed pair at least once; greedy, the same every time.

    Each combination starts from a pair that is still missing, of the factors with most values first; then every factor
    takes the value that adds the most missing pairs, the first of equals.
    """
    names, values = list(factors), list(factors.values())

    def allowed(places: Sequence[Place]) -> bool:
        row = {names[factor]: values[factor][value] for factor, value in places}
        return not any(breaks(row, rule) for rule in rules)

    places = [[(factor, value) for value in range(len(values[factor]))] for factor in range(len(names))]
    both = (pair for one, other in combinations(places, 2) for pair in product(one, other))
    pairs = sorted(filter(allowed, both), key=lambda pair: -sum(len(places[factor]) for factor, _ in pair))
    missing = set(pairs)
    rows: list[list[Place]] = []
    for start in pairs:
        if start not in missing:
            continue
        row: list[Place] = list(start)
        for factor, candidates in enumerate(places):
            if factor not in (start[0][0], start[1][0]):
                free = [place for place in candidates if allowed([*row, place])]
                assert free, f"no value of {names[factor]} goes with the others"
                row.append(
                    max(free, key=lambda place: sum(_pair(place, chosen) in missing for chosen in row))
                )
        missing -= {_pair(one, other) for one, other in combinations(row, 2)}
        rows.append(sorted(row))
    return [{names[factor]: values[factor][value] for factor, value in row} for row in rows]


def _pair(one: Place, other: Place) -> tuple[Place, Place]:
    return (one, other) if one < other else (other, one)
