"""Train on one scan and reconstruct another, from a ready configuration and data in memory or in files."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.legacy import dataclass_to_legacy_dict
from ptycho.probe import get_probe_guess
from ptycho.raw_data import RawData, load_scans
from ptycho.workflows.backend_selector import load_backend
from ptycho.workflows.components import save_outputs
from ptycho.workflows.one_device import on_one_device
from ptycho_torch.config_factory import (
    InferencePayload,
    TrainingPayload,
    execution_beside,
    inference_payload_of,
    populate_legacy_params,
    training_payload_of,
)
from ptycho_torch.data.completing import compare_orientations
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import PtychoPINN
from ptycho_torch.reassembly import reconstruct
from ptycho_torch.runs.outcome import warn_of
from ptycho_torch.runs.preflight import refuse_foreseeable
from ptycho_torch.runs.reconstruction import (
    ReconstructionResult,
    illuminated_model,
    reconstruct_scans,
    warn_of_picture,
)
from ptycho_torch.runs.trained import TrainedModel, check_tensors, load_trained
from ptycho_torch.runs.training import TrainingResult, train
from ptycho_torch.runtime import build_fabric, check_machine, run_environment
from ptycho_torch.workflows.scans import reconstruct_scan, solve_scan, train_scan

__all__ = [
    "compare_orientations",
    "load_inference_bundle_torch",
    "reconstruct_scan",
    "run_cdi_example_torch",
    "save_outputs",
    "solve_scan",
    "train_cdi_model_torch",
    "train_scan",
]

MODEL = "diffraction_to_obj"
"""Historical name of the model that goes from patterns to object patches."""

Scan = RawData | str | Path
Image = NDArray[np.float32]


def run_cdi_example_torch(
    train_data: Scan | None,
    test_data: Scan | None,
    config: TrainingConfig,
    do_stitching: bool = True,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Image | None, Image | None, dict[str, Any]]:
    """Train a model, and reconstruct a scan with it.

    Args:
        train_data: the scan to train on, or its path (a folder: a data set); None: ``train_data_file``.
        test_data: the scan to validate on and to reconstruct; None: ``test_data_file`` validates, and the training
            scan is reconstructed.
        config: what to train. N = 0 is taken from the data.
        do_stitching: whether to reconstruct.
        execution_config: how to run; None: the defaults and the environment.
        overwrite: whether a run that is in ``output_dir`` is replaced; it is kept aside until this one has saved.

    Returns:
        Amplitude and phase (rad) of the object, float32 (H, W), of the first scan where there are several; both None
        without stitching. And the results: ``backend``, ``history``, ``models``, ``run_dir``, ``bundle``,
        ``problem`` (why training or reconstruction came to nothing; None where they are sound), and with stitching
        ``reconstructions`` (one for each scan) and ``metrics`` (of the first).

    Raises:
        ConfigError, DataError: the settings or the data are wrong, or ``output_dir`` holds a run; BundleError: the
            model cannot be read back.
        ValueError, RuntimeError: the backend of the configuration is not this one.

    Warns:
        UserWarning: the training or a reconstruction came to nothing; see ``problem``.
    """
    config, scans, tests, execution_config = _prepared(train_data, test_data, config, execution_config)
    trained, payload = _trained(config, scans, tests, execution_config, overwrite)
    results = _results(trained)
    if not do_stitching:
        return None, None, results
    inference = _inference_payload(payload, trained.run_dir)
    found = reconstruct_scans(inference, tests or scans, overwrite=overwrite)
    problems = [warn_of(result.problem) for result in found]
    results |= {"reconstructions": found, "metrics": found[0].metrics}
    results["problem"] = next(filter(None, [results["problem"], *problems]), None)
    return *_images(found[0]), results


def train_cdi_model_torch(
    train_data: Scan | None,
    test_data: Scan | None,
    config: TrainingConfig,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train a model; as ``run_cdi_example_torch`` without stitching, of which it gives the results."""
    return _results(_trained(*_prepared(train_data, test_data, config, execution_config), overwrite)[0])


def load_inference_bundle_torch(path: str | Path) -> tuple[dict[str, PtychoPINN], dict[str, Any]]:
    """Load a trained model, and fill the legacy dictionary with its configuration (CONFIG-001).

    Args:
        path: folder of a training, its ``wts.h5.zip``, or the folder of its unpacked members.

    Returns:
        The models by name, and the training configuration by legacy keys.

    Raises:
        BundleError: there is no bundle, or it cannot be read.
        ConfigError: it holds values that this version refuses.
    """
    trained_model = load_trained(Path(path))
    said = trained_model.config
    config = TrainingConfig(model=ModelConfig(**said["model"]), **said["training"])
    payload = training_payload_of(config, PyTorchExecutionConfig.from_snapshot(said["execution"]))
    check_tensors(trained_model, payload.pt_model_config, payload.pt_data_config)
    probes = torch.ones(trained_model.state_dict["probe"].shape[:-1], dtype=torch.complex64)
    model = PtychoPINN(payload.pt_model_config, payload.pt_data_config, probes)
    model.load_state_dict(trained_model.state_dict)
    trained = payload.tf_training_config
    populate_legacy_params(trained, intensity_scale=2 * math.sqrt(trained.nphotons) / trained.model.N)
    return LoadedModels(model.eval(), payload, trained_model), dataclass_to_legacy_dict(trained)


class LoadedModels(dict[str, PtychoPINN]):
    """The models of a bundle by name, and what they predict of a whole scan."""

    def __init__(self, model: PtychoPINN, payload: TrainingPayload, trained: TrainedModel) -> None:
        super().__init__({MODEL: model})
        self._payload, self._trained = payload, trained

    def predict(self, inputs: Sequence[Any]) -> NDArray[np.complex64]:
        """Reconstruct a scan with the probe of `ptycho.probe.set_probe_guess`.

        Args:
            inputs: amplitude float (n, N, N), photon**0.5; positions float (n, 2), rows (y, x), pixels.

        Returns:
            Complex64 (n, N, N), the patch of the object at every position. Times the probe that was set they scatter
            the photons that were measured.

        Raises:
            ValueError: no probe was set.
            DataError: the arrays do not fit together, or the model.
            ConfigError: the environment asks for what this machine lacks.

        Warns:
            UserWarning: the patches do not predict the patterns.

        The knobs are those of the environment; the work is done in this process, on one device.
        """
        amplitude, positions = (np.asarray(values) for values in inputs)
        given = get_probe_guess()
        scan = RawData.from_arrays(amplitude, positions, given, domain="amplitude")
        payload = self._payload
        execution = on_one_device(PyTorchExecutionConfig(), "this reconstruction")
        check_machine(execution)
        configs = (payload.pt_model_config, payload.pt_data_config)
        model = illuminated_model(*configs, self._trained.state_dict, self._trained.probes, scan)
        with run_environment(execution):
            found = reconstruct(
                model,
                payload.pt_model_config,
                scan,
                np.arange(len(scan)),
                inference=replace(
                    payload.pt_inference_config,
                    batch_size=execution.inference_batch_size or payload.pt_inference_config.batch_size,
                    middle_trim=execution.middle_trim,
                    pad_eval=execution.pad_eval,
                    window=0,
                ),
                execution=execution,
                fabric=build_fabric(execution),
            )
            warn_of_picture(found, scan)
        factor = np.linalg.norm(found.probe) / np.linalg.norm(given)
        n_pixels = scan.patterns.shape[-1]
        corners = np.round(positions).astype(int) - n_pixels // 2 - np.array(found.canvas_corner_px)
        patches = np.lib.stride_tricks.sliding_window_view(found.canvas, (n_pixels, n_pixels))
        return (patches[corners[:, 0], corners[:, 1]] * factor).astype(np.complex64)


def _prepared(
    train_data: Scan | None,
    test_data: Scan | None,
    config: TrainingConfig,
    execution_config: PyTorchExecutionConfig | None,
) -> tuple[TrainingConfig, list[RawData], list[RawData] | None, PyTorchExecutionConfig]:
    """The configurations with N, the training scans, and the test scans where there are any.

    What the settings ask for in vain is refused before any data is read.
    """
    load_backend(config.backend)  # refuses another backend
    execution = execution_beside(config, execution_config)
    refuse_foreseeable(config, execution, has_test_data=test_data is not None)
    source = config.train_data_file if train_data is None else train_data
    scans = _scans(source, config)
    tests = None if test_data is None else _scans(test_data, config)
    n_pixels = config.model.N or scans[0].patterns.shape[-1]
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, N=n_pixels))
    return config, scans, tests, execution


def _scans(data: Scan | None, config: TrainingConfig) -> list[RawData]:
    if isinstance(data, RawData):
        return [data]
    if data is None:
        field = "training.train_data_file"
        raise ConfigError(
            [Failure(field, f"{field}: expected a path; got none. Set it, or give train_data.")]
        )
    return load_scans(data, config.measurement_domain, reading=config.data)


def _trained(
    config: TrainingConfig,
    scans: list[RawData],
    tests: list[RawData] | None,
    execution_config: PyTorchExecutionConfig,
    overwrite: bool,
) -> tuple[TrainingResult, TrainingPayload]:
    payload = training_payload_of(config, execution_config)
    data = ScanDataModule(
        payload.tf_training_config, payload.execution_config, scans=scans, validation_scans=tests
    )
    return train(payload, data=data, overwrite=overwrite), payload


def _inference_payload(trained: TrainingPayload, run_dir: Path) -> InferencePayload:
    """Reconstruct all patterns with what was just trained, into a folder below."""
    config = trained.tf_training_config
    inference = InferenceConfig(
        model=config.model,
        model_path=run_dir,
        test_data_file=config.test_data_file or config.train_data_file,
        neighbor_count=config.neighbor_count,
        measurement_domain=config.measurement_domain,
        output_dir=run_dir / "reconstruction",
    )
    return inference_payload_of(inference, trained)


def _results(trained: TrainingResult) -> dict[str, Any]:
    return {
        "backend": "pytorch",
        "history": trained.history,
        "models": {MODEL: trained.module.model},
        "run_dir": trained.run_dir,
        "bundle": trained.bundle,
        "problem": warn_of(trained.problem),
    }


def _images(found: ReconstructionResult) -> tuple[Image, Image]:
    image = found.reconstruction.object
    return np.abs(image), np.angle(image)
