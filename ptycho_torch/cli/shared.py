"""Historical helpers of command-line scripts: from an argparse namespace to settings."""

import argparse
from pathlib import Path

from ptycho.config.errors import printable, warn_caller
from ptycho.config.execution import PyTorchExecutionConfig

MODES = ("training", "inference")

_ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}


def resolve_accelerator(accelerator: str = "auto", device: str | None = None) -> str:
    """Decide what to compute on.

    Args:
        accelerator: as the knob of this name; `auto` takes what the machine has.
        device: the old option, cpu or cuda. An accelerator other than `auto` beats it.

    Returns:
        The accelerator. `auto` becomes cuda, mps, tpu or cpu; cpu with a warning (POLICY-001).
    """
    accelerator = with_device(accelerator, device)
    if accelerator != "auto":
        return accelerator
    from ptycho_torch.runtime import resolve_accelerator as resolve

    return resolve("auto")


def with_device(accelerator: str, device: str | None) -> str:
    """The accelerator that the old option `--device` means, beside one that was given.

    Args:
        accelerator: `auto` where none was given.
        device: cpu or cuda; None where the option was not given.
    """
    if device is None:
        return accelerator
    warn_caller("--device is deprecated; use --accelerator.", DeprecationWarning)
    if accelerator != "auto":
        warn_caller(f"Ignoring --device value {device!r}: --accelerator is {accelerator!r}.", UserWarning)
        return accelerator
    return _ACCELERATORS.get(device, device)


def build_execution_config_from_args(
    namespace: argparse.Namespace, mode: str = "training"
) -> PyTorchExecutionConfig:
    """Resolve the execution configuration of a script.

    Args:
        namespace: attributes with the name of a knob, or an old name of one, are flags; an attribute that is absent
            or None is no value. `quiet` and `disable_mlflow` turn the progress bar off.
        mode: 'training' or 'inference', what it is for; a script that is neither has no business here.

    Raises:
        ValueError: another mode.
        ConfigError: everything that is wrong with the values.
    """
    if mode not in MODES:
        raise ValueError(f"Invalid mode: expected 'training' or 'inference'; got {mode!r}. Correct it.")
    given = {name: value for name, value in vars(namespace).items() if value is not None}
    names = {*PyTorchExecutionConfig.model_fields, *PyTorchExecutionConfig.old_names}
    flags = {name: value for name, value in given.items() if name in names}
    if "device" in given:
        flags["accelerator"] = with_device(given.get("accelerator", "auto"), given["device"])
    switches = [given[name] for name in ("quiet", "disable_mlflow") if name in given]
    if any(switches):
        flags["enable_progress_bar"] = False
    config = PyTorchExecutionConfig.resolve(
        flags=flags, cli_defaults={"enable_progress_bar": True} if switches else None
    )
    if config.deterministic and config.num_workers > 0:
        warn_caller(
            f"deterministic with num_workers={config.num_workers}: expect a performance degradation.",
            UserWarning,
        )
    return config


def validate_paths(
    train_file: str | Path | None, test_file: str | Path | None, output_dir: str | Path | None
) -> None:
    """Check that the data are there, and create the output folder.

    Args:
        train_file: the training data; None: not asked for.
        test_file: the test data; None: not asked for.
        output_dir: the folder to create; None: none.

    Raises:
        FileNotFoundError: a data file is not there.
        NotADirectoryError: the output folder is a file.
    """
    for path, what in ((train_file, "Training"), (test_file, "Test")):
        if path is not None and not Path(path).exists():
            raise FileNotFoundError(f"{what} data file not found: {printable(str(path))}. Check the path.")
    if output_dir is not None:
        if Path(output_dir).is_file():
            raise NotADirectoryError(
                f"output_dir: expected a folder; got the file {printable(str(output_dir))}. Name another."
            )
        Path(output_dir).mkdir(parents=True, exist_ok=True)
