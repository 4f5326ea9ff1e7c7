"""`pytest --cut KNOB`: every reader of a knob gets its default, and the tests that prove the knob have to fail.

A test that still passes proves nothing, and is reported. The cut reaches the programs that a test starts as
`program()`: they run this module, which cuts the wire named by the environment before it runs the command.
"""

import os
from typing import Any

import pytest

from ptycho.config.canonical import TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho_torch import config_params

CUT = "CUT_WIRE"
"""Environment variable that tells other programs the knob."""


def program() -> tuple[str, str]:
    """What Python runs to be the `ptycho` command, without the knob where its wire is cut."""
    return "-m", "tests.wires" if CUT in os.environ else "ptycho_torch"


def cut(knob: str) -> None:
    """Give every reader of a knob its default, here and in every program that a test starts as `program()`.

    Raises:
        pytest.UsageError: there is no such setting.
    """
    known = False
    table, _, name = knob.rpartition(".")
    others = (PyTorchExecutionConfig, TrainingConfig, config_params.TrainingConfig)
    for cls in {"solver": (SolverConfig,), "data": (DataConfig,)}.get(table, others):
        fields = section_of(cls).all_fields
        if name in fields:
            default = fields[name].get_default(call_default_factory=True)
            setattr(cls, name, property(lambda _, default=default: default, lambda _, value: None))
            known = True
    if not known:
        raise pytest.UsageError(
            f"--cut: expected a knob, or a field of a training, the solver or the data; got {knob}"
        )
    os.environ[CUT] = knob


def selected(items: list[pytest.Item], knob: str) -> list[pytest.Item]:
    """The tests that prove a knob."""
    return [item for item in items if any(knob in mark.args for mark in item.iter_markers("proves"))]


def survivors(reports: dict[str, list[Any]]) -> tuple[set[str], set[str]]:
    """The test functions that ran, and those of them that passed with every set of parameters."""
    names = {
        kind: {
            report.nodeid.partition("[")[0] for report in found if report.when == "call" or kind == "error"
        }
        for kind, found in reports.items()
        if kind in ("passed", "failed", "error")
    }
    failed = names.get("failed", set()) | names.get("error", set())
    ran = names.get("passed", set()) | failed
    return ran, ran - failed


if __name__ == "__main__":
    from ptycho_torch.cli.main import main

    cut(os.environ[CUT])
    raise SystemExit(main())
