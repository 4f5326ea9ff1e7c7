"""The historical workflow functions; what computes is the backend."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from ptycho import model_manager
from ptycho.atomic import atomic_write
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.json_files import write_json
from ptycho.model_archive import ARCHIVE
from ptycho.run_files import OF_RECONSTRUCTION, has_results
from ptycho.run_folder import RunFolder, one_set
from ptycho.workflows.backend_selector import load_backend, run_cdi_example_with_backend
from ptycho.workflows.one_device import on_one_device

__all__ = ["load_inference_bundle", "run_cdi_example", "save_outputs"]

OUTPUTS: Final = (
    *("reconstructed_amplitude.npy", "reconstructed_amplitude.png"),
    *("reconstructed_phase.npy", "reconstructed_phase.png", OF_RECONSTRUCTION[-1]),
)
"""What `save_outputs` writes."""

log = logging.getLogger(__name__)


def run_cdi_example(
    train_data: Any, test_data: Any, config: Any, do_stitching: bool = True, *, overwrite: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Train on one scan and reconstruct another; see `run_cdi_example_with_backend`.

    A configuration whose `output_dir` is no folder in particular (`Path()`) has its files in a temporary one until
    `ptycho.model_manager.save` moves them to a place. The neighbours that groups are drawn from are at least as many as
    the groups need. All goes on in this process, on one device: who calls these names is a program that could not be
    started again for further ones.
    """
    others = config.model.gridsize**2 - 1
    config = replace(config, neighbor_count=max(config.neighbor_count, others))
    execution = on_one_device(PyTorchExecutionConfig(), "this training")
    temporary = Path(config.output_dir) == Path()
    with contextlib.ExitStack() as on_failure:
        if temporary:
            config.output_dir = Path(tempfile.mkdtemp(prefix="ptychopinn-"))
            on_failure.callback(_leave, config.output_dir)
        outcome = run_cdi_example_with_backend(
            train_data,
            test_data,
            config,
            do_stitching,
            torch_execution_config=execution,
            overwrite=overwrite,
        )
        on_failure.pop_all()
    model_manager.remember(Path(outcome[2]["bundle"]), temporary=temporary)
    return outcome


def _leave(folder: Path) -> None:
    """Remove the temporary folder of a run that failed; one that holds a model, or checkpoints, stays."""
    archive = folder / ARCHIVE
    if not has_results(folder):
        shutil.rmtree(folder)
    elif archive.is_file():
        model_manager.remember(archive, temporary=True)
        log.warning("%s: the model is there; ptycho.model_manager.save moves it", folder)
    else:
        log.warning(
            "%s: the training is there as far as it came; resume it (ptycho train --resume %s)",
            folder,
            folder,
        )


def load_inference_bundle(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load a trained model; see `ptycho_torch.workflows.components.load_inference_bundle_torch`.

    The models also have `predict([X * intensity_scale, local_offsets])`, with the attributes of `ptycho.loader.load`,
    `ptycho.params.get("intensity_scale")`, which this sets, and the probe of `ptycho.probe.set_probe_guess`.
    """
    return load_backend("pytorch").load_inference_bundle_torch(path)


def save_outputs(
    amp: npt.ArrayLike | None,
    phase: npt.ArrayLike | None,
    results: Mapping[str, Any],
    output_dir: str | Path,
    *,
    overwrite: bool = False,
) -> None:
    """Write what `run_cdi_example` gave; the files appear together.

    Args:
        amp: amplitude, float (H, W): `reconstructed_amplitude.npy` and `.png`. None: nothing to write.
        phase: phase in rad, float (H, W): `reconstructed_phase.npy` and `.png`. None: nothing to write.
        results: `metrics` go to `metrics.json` where there are any.
        output_dir: the folder, created where it is missing. It may be that of the training.
        overwrite: whether the files of an earlier call are replaced, all of them.

    Raises:
        ConfigError: the folder holds such files, or the reconstruction of another function; or a run writes into it.
        ValueError: what is given is no image.
    """
    from matplotlib import image  # slow to import

    images = {
        name: np.asarray(given) for name, given in (("amplitude", amp), ("phase", phase)) if given is not None
    }
    for name, array in images.items():
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            got = f"{array.dtype} of shape {array.shape}"
            raise ValueError(
                f"{name}: expected real numbers of shape (H, W); got {got}. Give the image alone."
            )
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    with RunFolder(output_dir, among_others=True) as folder:
        earlier = _earlier_outputs(folder.path, overwrite)
        with one_set(folder.path, folder.path) as new:
            for name, array in images.items():
                with atomic_write(new / f"reconstructed_{name}.npy") as file:
                    np.save(file, array, allow_pickle=False)
                with atomic_write(new / f"reconstructed_{name}.png") as file:
                    cast(Any, image).imsave(file, array, cmap="gray", format="png")
            if results.get("metrics"):
                write_json(new / OUTPUTS[-1], results["metrics"])
            for path in earlier:
                if not (new / path.name).exists():
                    (new / path.name).mkdir()  # the file goes


def _earlier_outputs(folder: Path, overwrite: bool) -> list[Path]:
    """The files of an earlier `save_outputs`, which are to be replaced."""
    earlier = [folder / name for name in OUTPUTS if os.path.lexists(folder / name)]
    pictures = any(os.path.lexists(folder / name) for name in OF_RECONSTRUCTION[:-1])
    if pictures or (earlier and not overwrite):
        got = "a reconstruction" if pictures else f"{earlier[0].name} of an earlier call"
        way_on = "" if pictures else "Replace all of them (overwrite=True), or n"
        rule = "expected a folder without a reconstruction"
        message = f"{folder}: {rule}; got one with {got}. {way_on or 'N'}ame another folder."
        raise ConfigError([Failure("output_dir", message)])
    return earlier
