"""What the two kinds of reconstruction, with a trained model and without, do nothing with."""

from typing import Final

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.inference import InferenceConfig
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig

RECONSTRUCTION_GROUPS: Final = ("hardware", "data loading", "logging", "inference")
"""Groups of execution settings that a reconstruction reads."""
_ONLY_WITH_A_MODEL: Final = (
    "num_workers",
    "pin_memory",
    "persistent_workers",
    "prefetch_factor",
    "middle_trim",
    "pad_eval",
    "ddp_find_unused_parameters",
    "ddp_static_graph",
    "ddp_gradient_as_bucket_view",
    "val_split",
    "val_split_seed",
    "drop_last_batch",
)
"""Settings of these groups that a reconstruction without a model does nothing with."""
_ONLY_WITHOUT_A_MODEL: Final = ("preview_every",)
"""Settings of these groups that a reconstruction with a model does nothing with."""


def unread_by_reconstructions(*, with_model: bool) -> dict[str, str]:
    """The settings that a reconstruction does nothing with: name, current or old -> why it is refused."""
    execution, solver, inference = map(section_of, (PyTorchExecutionConfig, SolverConfig, InferenceConfig))
    own, other = (inference, solver) if with_model else (solver, inference)
    here, there = ("with", "without") if with_model else ("without", "with")
    of_training = {name for name in execution.fields if execution.group(name) not in RECONSTRUCTION_GROUPS}
    of_other = {*other.fields}.difference(own.fields)
    of_other.update(_ONLY_WITHOUT_A_MODEL if with_model else _ONLY_WITH_A_MODEL)
    why = dict.fromkeys(of_training, "expected in a training; got it in a reconstruction")
    why |= dict.fromkeys(
        of_other, f"expected in a reconstruction {there} a model; got it in one {here} a model"
    )
    renamed = {**other.renamed, **execution.renamed}
    return why | {old: why[name] for old, name in renamed.items() if name in why}
