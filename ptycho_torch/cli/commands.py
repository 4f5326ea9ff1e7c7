"""The commands of `ptycho`: their names, what help says of them, and the settings that it shows first."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple


class Command(NamedTuple):
    """One command; its module has `add_arguments(parser)` and `run(options)` -> exit code."""

    name: str
    """The word that is typed, and the name of its module but for `_MODULES`."""
    summary: str
    usage: str
    """What is typed after the name."""
    outer: str = ""
    """The command that it is an action of, where it is one."""

    def load(self) -> ModuleType:
        """Import the module."""
        name = f"{self.outer}_{self.name}".lstrip("_")
        return import_module(f"ptycho_torch.cli.{_MODULES.get(name, name)}")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments to a parser."""
        self.load().add_arguments(parser)


_MODULES: Final = {"import": "importing"}
"""Command -> its module, where the word cannot be one."""

COMMANDS: Final = {
    command.name: command
    for command in (
        Command("simulate", "simulate a scan whose object and probe are known", "--output FILE [flags]"),
        Command("inspect", "show what a file holds, and what is known of the scan in it", "FILE [flags]"),
        Command("import", "write a scan of another program as an NPZ file", "FILE --output FILE [flags]"),
        Command("train", "train a model on a scan", "DATA [flags]"),
        Command(
            "reconstruct", "reconstruct a scan, without a model or with a trained one", "[MODEL] DATA [flags]"
        ),
        Command(
            "demo",
            "simulate, reconstruct with and without a network, and compare with the truth (minutes)",
            "[flags]",
        ),
        Command("report", "write the report of a run again, from its files", "RUN [flags]"),
        Command("compare", "write a page with several runs side by side", "RUN RUN ... [flags]"),
        Command("config", "show, check, write and compare settings; nothing is run", "ACTION ..."),
        Command(
            "doctor",
            "show what this machine offers and which settings it would refuse, or which files of a run have changed",
            "[RUN] [--json] [flags]",
        ),
        Command("completion", "write the script that completes ptycho in a shell", "{bash,zsh,fish}"),
    )
}
"""Name -> command."""

ACTIONS: Final = {
    action.name: action
    for action in (
        Command(
            "show", "show the settings that a run would have, and the origin of each", "COMMAND ...", "config"
        ),
        Command(
            "check",
            "check files and the environment",
            "[--strict] [--recipe NAME] [--json] [FILE ...]",
            "config",
        ),
        Command(
            "init",
            "write a file to edit, with all settings as comments",
            "[--yaml] [--recipe NAME]",
            "config",
        ),
        Command("schema", "write the JSON Schema of configuration files, for editors", "", "config"),
        Command("env", "list the environment variables and their values", "[--json]", "config"),
        Command(
            "diff", "compare the settings of two runs or files", "RUN_OR_FILE RUN_OR_FILE [--json]", "config"
        ),
    )
}
"""Name -> action of `ptycho config`."""

_OF_A_SCAN: Final = (
    *("format", "patterns", "positions", "positions_x", "positions_y", "positions_unit"),
    *("energy", "distance", "detector_pixel", "crop", "bin", "centre", "measurement_domain"),
)
COMMON: Final[Mapping[str, tuple[str, ...]]] = {
    "train": (
        *("output_dir", "nepochs", "batch_size", "learning_rate", "gridsize", "architecture"),
        *(
            "probe_trainable",
            "measurement_domain",
            "test_data_file",
            "accelerator",
            "n_devices",
            "num_workers",
        ),
    ),
    "reconstruct": (
        *("output_dir", "n_iterations", "refine_probe", "probe_modes", "refine_positions", "prior", "start"),
        *("measurement_domain", "inference_batch_size", "reconstruction_window", "accelerator", "n_devices"),
    ),
    "inspect": _OF_A_SCAN,
    "import": _OF_A_SCAN,
    "demo": (
        *("output_dir", "N", "n_positions", "nphotons", "nepochs", "batch_size", "learning_rate", "gridsize"),
        *("accelerator", "n_devices"),
    ),
    "doctor": ("accelerator", "n_devices", "strategy", "precision", "num_workers", "logger_backend"),
}
"""Command -> the settings that its help shows first; `--help-all` shows the others as well."""


def spell(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"
