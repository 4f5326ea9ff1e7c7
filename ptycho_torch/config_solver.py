"""From what a caller says to complete, checked settings of a reconstruction without a network.

Who wins, the strongest first: overrides; flags that were passed; the arguments; the files, the last one strongest;
those of PTYCHO_CONFIG; the recipe; the command line's; those of the fields. The legacy dictionary is left alone:
nothing here reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.request import Answer
from ptycho.config.solver import SolverConfig
from ptycho_torch.config_factory import Levels, after_the_rest, asked, settled
from ptycho_torch.config_inferred import files_of
from ptycho_torch.config_payload import ShownPayload, announce, audit, take_held


@dataclass(frozen=True)
class SolverPayload(ShownPayload):
    """Everything that a reconstruction without a network needs to know.

    Attributes:
        solver_config: what is reconstructed, and how.
        execution_config: how this machine runs it.
        overrides_applied: name -> origin of every value that is not a default, and what it beat; JSON-safe.
        sources: `solver.field` -> origin of every field.
    """

    solver_config: SolverConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Any]
    sources: dict[str, Origin]


def create_solver_payload(
    data: str | Path | None,
    output_dir: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    **levels: Unpack[Levels],
) -> SolverPayload:
    """Resolve the settings of a reconstruction without a network.

    Args:
        data: the scan, or a folder of NPZ files; None: as the file says.
        output_dir: folder for what the reconstruction writes; None: as a flag, the file or the command line says.
        overrides: field or execution knob -> value.
        execution_config: resolved before, overrides reach it; None resolves it here, with the environment.
        **levels: arguments, flags, file, recipe, cli_defaults or request, see `Levels`; of a recipe [solver] counts,
            since its [execution] is for networks.

    Raises:
        FileNotFoundError: there is no such data.
        ConfigError: all that is wrong with the values.
    """
    unread = unread_by_reconstructions(with_model=False)
    request = asked([SolverConfig, PyTorchExecutionConfig], overrides, levels, unread)
    places = settled(request, SolverConfig, {"data_file": data, "output_dir": output_dir})
    with after_the_rest(request, execution_config):
        files_of(places["data_file"], f"Scan file not found{request.file_of('data_file')}")
    return solver_payload(request.answer({PyTorchExecutionConfig: execution_config}))


def solver_payload(answer: Answer) -> SolverPayload:
    """The payload of a resolved request for SolverConfig."""
    announce(answer)
    config = answer[SolverConfig]
    take_held(config, answer)
    return SolverPayload(config, answer[PyTorchExecutionConfig], audit(answer), answer.sources)
