"""What the tests prove of the knobs: read from their marks `proves(*knobs, seen=...)`, without importing them.

    python docs/evidence.py

lists the knobs.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig

ROOT: Final = Path(__file__).resolve().parent.parent
OPTIMIZATION: Final = (
    "optimizer",
    "momentum",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "lr_warmup_epochs",
    "lr_min_ratio",
    "plateau_factor",
    "plateau_patience",
    "plateau_min_lr",
    "plateau_threshold",
)
"""Fields of a training that are optimizer and schedule."""
KNOBS: Final = {
    **dict.fromkeys(PyTorchExecutionConfig.model_fields, "execution"),
    **dict.fromkeys(OPTIMIZATION, "training"),
    **{f"solver.{name}": "solver" for name in section_of(SolverConfig).fields},
    **{f"data.{name}": "data" for name in section_of(DataConfig).fields},
}
"""Everything that has to be proved, and its section."""


class Proof(NamedTuple):
    """One observation of a knob."""

    seen: str
    """What is seen."""
    test: str
    """The test, as pytest names it: `file::function`."""


def proofs() -> Mapping[str, list[Proof]]:
    """The observations of every knob.

    Raises:
        ValueError: a mark that is not written out, or names no knob.
    """
    found: dict[str, list[Proof]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="ascii"), path.name)):
            if isinstance(function, ast.FunctionDef):
                test = f"{path.relative_to(ROOT)}::{function.name}"
                for knob, seen in _marks(function, test):
                    found[knob].append(Proof(seen, test))
    return found


def _marks(function: ast.FunctionDef, test: str) -> Iterator[tuple[str, str]]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.proves":
            knobs = [ast.literal_eval(argument) for argument in mark.args]
            (seen,) = (ast.literal_eval(keyword.value) for keyword in mark.keywords)
            if not set(knobs) <= KNOBS.keys():
                raise ValueError(f"{test}: expected marks of knobs; got {knobs}")
            yield from ((knob, seen) for knob in knobs)


def rows(read: Mapping[str, Mapping[str, Mapping[str, list[str]]]]) -> Iterator[tuple[str, str, str, str]]:
    """Knob, where it acts, what is seen, and the test.

    Args:
        read: section -> field -> `read`, the modules that read it.
    """
    found = proofs()
    for knob, section in KNOBS.items():
        said = read[section][knob.rpartition(".")[2]]["read"]
        places = ", ".join(f"`{place.partition(':')[0]}`" for place in said)
        for number, proof in enumerate(found[knob]):
            first = number == 0
            yield f"`{knob}`" if first else "", places if first else "", proof.seen, f"`{proof.test}`"


if __name__ == "__main__":
    print("\n".join(KNOBS))
