"""The generator of combinations, against every pair written out."""

from itertools import combinations, product
from typing import Any

import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from tests.combinations import inference, training
from tests.combinations.pairs import breaks, pairwise

SMALL = {"a": (1, True, "1"), "b": (0, 1), "c": ("x", "y", "z"), "d": (None,)}
RULES = [{"a": [1], "b": [1]}, {"a": [True], "b": [0], "c": ["x"]}]


def test_every_pair_that_is_not_refused_stands_in_some_combination() -> None:
    rows = pairwise(SMALL, [{"a": ["1"], "b": [1]}])
    held = {
        (first, repr(row[first]), other, repr(row[other]))
        for row in rows
        for first, other in combinations(SMALL, 2)
    }
    every = {
        (first, repr(one), other, repr(another))
        for first, other in combinations(SMALL, 2)
        for one, another in product(SMALL[first], SMALL[other])
    }
    assert every - held == {("a", repr("1"), "b", "1")}


def test_no_combination_breaks_a_rule() -> None:
    rows = pairwise({"a": (2, 1), "b": (0, 1), "c": ("y", "x")}, RULES[:1])
    assert rows
    assert not [row for row in rows if row["a"] == 1 and row["b"] == 1]


@pytest.mark.parametrize("module", [training, inference])
def test_the_combinations_are_the_same_every_time_and_far_fewer_than_all(module: Any) -> None:
    rows = pairwise(module.FACTORS, module.REFUSED)
    assert rows == pairwise(module.FACTORS, module.REFUSED)
    assert len(rows) < 60
    assert not any(breaks(row, rule) for row in rows for rule in module.REFUSED)


def test_every_knob_stands_in_the_combinations() -> None:
    together = {"n_devices", "strategy"}  # as `devices`
    alone = {"num_nodes"}  # one machine is all there is
    assert (
        set(PyTorchExecutionConfig.model_fields)
        == (set(training.FACTORS) & set(PyTorchExecutionConfig.model_fields)) | together | alone
    )
