"""The historical workflow functions; what computes is the backend."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ptycho.workflows.backend_selector import load_backend, run_cdi_example_with_backend

__all__ = ["load_inference_bundle", "run_cdi_example", "save_outputs"]


def run_cdi_example(
    train_data: Any, test_data: Any, config: Any, do_stitching: bool = True
) -> tuple[Any, Any, dict[str, Any]]:
    """Train on one scan and reconstruct another; see `run_cdi_example_with_backend`."""
    return run_cdi_example_with_backend(train_data, test_data, config, do_stitching)


def load_inference_bundle(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load a trained model; see `ptycho_torch.workflows.components.load_inference_bundle_torch`."""
    return load_backend("pytorch").load_inference_bundle_torch(path)


def save_outputs(
    amp: npt.ArrayLike | None,
    phase: npt.ArrayLike | None,
    results: Mapping[str, Any],
    output_dir: str | Path,
) -> None:
    """Write what `run_cdi_example` gave.

    Args:
        amp: amplitude, float (H, W): `reconstructed_amplitude.npy` and `.png`. None: nothing to write.
        phase: phase in rad, float (H, W): `reconstructed_phase.npy` and `.png`. None: nothing to write.
        results: `metrics` go to `metrics.json` where there are any.
        output_dir: the folder, created where it is missing.
    """
    from matplotlib import image  # slow to import

    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("amplitude", amp), ("phase", phase)):
        if values is not None:
            array = np.asarray(values)
            np.save(folder / f"reconstructed_{name}.npy", array, allow_pickle=False)
            cast(Any, image).imsave(folder / f"reconstructed_{name}.png", array, cmap="gray")
    if results.get("metrics"):
        text = json.dumps(results["metrics"], indent=2, allow_nan=False)
        (folder / "metrics.json").write_text(f"{text}\n", encoding="utf-8")
