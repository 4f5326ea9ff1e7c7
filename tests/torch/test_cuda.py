"""What only a GPU can show; skipped elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.precision import measure
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs.reconstruction import reconstruct_scans
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import train
from tests.legacy_dictionary import legacy_dictionary_restored

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SMALL = {"n_groups": None, "gridsize": 2, "nepochs": 2, "n_filters_scale": 1, "n_unrolled_steps": 1}


def test_a_gpu_reconstructs_what_a_cpu_does(tiny_file: Path, tmp_path: Path) -> None:
    with legacy_dictionary_restored():
        objects = []
        for accelerator in ("cpu", "cuda"):
            settings = SMALL | {"accelerator": accelerator}
            run_dir = tmp_path / accelerator
            train(create_training_payload(tiny_file, run_dir, settings))
            asked = {"n_groups": None, "accelerator": accelerator}
            payload = create_inference_payload(run_dir, tiny_file, run_dir / "scan", asked)
            objects.append(reconstruct_scans(payload)[0].reconstruction.object)
    np.testing.assert_allclose(objects[0], objects[1], rtol=0, atol=2e-2)


def test_mixed_precision_trains_as_well_in_less_memory(tmp_path: Path) -> None:
    with legacy_dictionary_restored():
        whole, mixed = (measure(name, "cuda", 512, 2, tmp_path) for name in ("32-true", "bf16-mixed"))
    assert mixed.loss == pytest.approx(whole.loss, rel=0.05)
    assert whole.peak_mb is not None
    assert mixed.peak_mb is not None
    assert mixed.peak_mb < whole.peak_mb


def test_pinned_memory_workers_and_16_bits_train(tiny_file: Path, tmp_path: Path) -> None:
    knobs = {"accelerator": "cuda", "pin_memory": True, "num_workers": 1, "precision": "16-mixed"}
    with legacy_dictionary_restored():
        result = train(create_training_payload(tiny_file, tmp_path, SMALL | knobs))
    assert all(float(row["train_loss"] or 0) > 0 for row in result.history)


def test_a_gpu_solves_for_the_object_that_a_cpu_finds(tiny_file: Path, tmp_path: Path) -> None:
    objects = []
    for accelerator in ("cpu", "cuda"):
        asked = {
            "accelerator": accelerator,
            "n_iterations": 30,
            "refine_probe": True,
            "refine_positions": True,
        }
        payload = create_solver_payload(tiny_file, tmp_path / accelerator, asked)
        objects.append(solve(payload)[0].object)
    np.testing.assert_allclose(objects[0], objects[1], rtol=0, atol=2e-2)
