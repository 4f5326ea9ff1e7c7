"""Which implementation runs a workflow: a backend is found by its name among the installed packages."""

from importlib.metadata import entry_points
from typing import Any, Final

from ptycho.config.errors import show

GROUP: Final = "ptycho.backends"
"""Entry-point group of the backends; each names a module with the functions of `ptycho_torch.workflows.components`."""


def load_backend(name: str) -> Any:
    """Load the module of a backend.

    Args:
        name: `backend` of a configuration.

    Raises:
        ValueError: there is no such backend.
        RuntimeError: the backend is TensorFlow's, which another distribution has, or it is not installed.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in found:
        return found[name].load()
    if name == "tensorflow":
        raise RuntimeError(
            "backend: expected 'pytorch'; got 'tensorflow', which this distribution does not have. "
            "Set backend='pytorch'."
        )
    if name == "pytorch":
        raise RuntimeError(
            "backend: expected the package ptychopinn to be installed; got no 'pytorch' among the entry points "
            f"of {GROUP}. In the checkout of ptychopinn, run pip install ."
        )
    raise ValueError(f"backend: expected 'pytorch'; got {show(name)} from the configuration. Set it.")


def run_cdi_example_with_backend(
    train_data: Any,
    test_data: Any,
    config: Any,
    do_stitching: bool = True,
    *,
    torch_execution_config: Any = None,
    overwrite: bool = False,
) -> tuple[Any, Any, dict[str, Any]]:
    """Train on one scan and reconstruct another with the backend that the configuration names.

    Args:
        train_data: RawData or a path.
        test_data: RawData, a path, or None: reconstruct the training scan.
        config: a TrainingConfig; its `backend` is what runs.
        do_stitching: whether to reconstruct at all.
        torch_execution_config: the execution configuration of the pytorch backend; None resolves the environment.
        overwrite: whether a run that is in the output folder is replaced; it is kept aside until this one has saved.

    Returns:
        Amplitude and phase of the object, float (H, W), and the results; (None, None, results) without stitching.

    Raises:
        ValueError: there is no such backend, or the data or settings are wrong.
        RuntimeError: the backend is not in this distribution.
    """
    backend = load_backend(config.backend)
    return backend.run_cdi_example_torch(
        train_data,
        test_data,
        config,
        do_stitching,
        execution_config=torch_execution_config,
        overwrite=overwrite,
    )
