"""What happens in a reconstruction run: from an inference payload to pictures, arrays and metrics in a folder."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ptycho.config.canonical import InferenceConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.grouping import neighbor_groups, select_positions
from ptycho.model_archive import ARCHIVE
from ptycho.raw_data import DataError, RawData, load_scans
from ptycho_torch.bundle import Bundle, load_bundle
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.config_params import DataConfig, ModelConfig
from ptycho_torch.data.groups import Indices
from ptycho_torch.data.module import usable_patterns
from ptycho_torch.model import PtychoPINN
from ptycho_torch.reassembly import Reconstruction, predicted_amplitude, reconstruct
from ptycho_torch.runs import metrics
from ptycho_torch.runs.figures import save_comparison, save_reconstruction
from ptycho_torch.runs.fingerprints import probe_fingerprint
from ptycho_torch.runs.record import logged, write_configuration, write_json
from ptycho_torch.runtime import build_fabric, check_reconstruction, naming_losses, run_environment

log = logging.getLogger(__name__)

MEASURED_AT_ONCE = 64
"""Patterns predicted at once for the metrics."""


@dataclass(frozen=True)
class ReconstructionResult:
    """A finished reconstruction of one scan.

    Attributes:
        run_dir: folder with reconstruction.npz, reconstruction.png, metrics.json and config.json.
        scan: what was reconstructed.
        reconstruction: the object and its registration.
        metrics: R factor, deviance, and figures against the known object where there is one.
    """

    run_dir: Path
    scan: RawData
    reconstruction: Reconstruction
    metrics: dict[str, Any]


def reconstruct_scans(
    payload: InferencePayload, scans: Sequence[RawData] | None = None
) -> list[ReconstructionResult]:
    """Reconstruct the scan, or every scan of the folder, that a payload names.

    Args:
        payload: from ``create_inference_payload``.
        scans: scans in memory; None: those that the payload names.

    Returns:
        One result for each scan. A single scan writes into ``output_dir``, several into a folder each below it.

    Raises:
        ConfigError: the machine lacks what the configuration asks for; raised before anything is read.
        BundleError: the model cannot be read.
        DataError: the scan does not fit the data contract or the model.
    """
    config, execution = payload.tf_inference_config, payload.execution_config
    check_reconstruction(execution, config)
    run_dir = Path(str(config.output_dir))
    refuse_folder_of_model(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with run_environment(execution), logged(run_dir), naming_losses(execution, run_dir):
        fabric = build_fabric(execution)
        bundle = load_bundle(Path(str(config.model_path)))
        if scans is None:
            scans = load_scans(Path(str(config.test_data_file)), domain=config.measurement_domain)
        domains = {str(scan.path): f"{scan.domain} ({scan.domain_reason})" for scan in scans}
        if fabric.is_global_zero:
            facts = {"measurement_domain": domains}
            write_configuration(run_dir, config, execution, payload.sources, payload.overrides_applied, facts)
        folders = (
            [run_dir] if len(scans) == 1 else [run_dir / f"{_stem(scan, i)}" for i, scan in enumerate(scans)]
        )
        results = [
            _one_scan(payload, bundle, scan, folder, fabric)
            for scan, folder in zip(scans, folders, strict=True)
        ]
        fabric.barrier()  # what the first process writes is there for every process that returns
        return results


def load_model(payload: InferencePayload, bundle: Bundle, scan: RawData) -> PtychoPINN:
    """The model of a bundle, illuminated by the probe of a scan.

    The probe is the one the training refined where it started from exactly the probe of this scan, else the probe
    in the scan's file.

    Raises:
        DataError: the patterns have another size than the model was trained on.
    """
    known = bundle.config["data"]["probe_guess_sha256"]
    return illuminated_model(payload.pt_model_config, payload.pt_data_config, bundle.state_dict, known, scan)


def illuminated_model(
    model_config: ModelConfig,
    data_config: DataConfig,
    trained: Mapping[str, Tensor],
    known: Sequence[str],
    scan: RawData,
) -> PtychoPINN:
    """A trained model with the probe of a scan.

    Args:
        model_config: how it was built.
        data_config: the same.
        trained: its state after training.
        known: fingerprints of the probe guesses that its probes started from.
        scan: whose probe is used: as refined where it is known, else as it is.

    Raises:
        DataError: the patterns have another size than the model was trained on.
    """
    n_pixels = scan.patterns.shape[-1]
    if n_pixels != data_config.N:
        raise DataError(
            f"{scan.path or 'scan'}: diff3d: expected patterns of {data_config.N} x {data_config.N} pixels, as the "
            f"model was trained on; got {n_pixels} x {n_pixels}. Train a model for this size."
        )
    model = PtychoPINN(model_config, data_config, torch.from_numpy(scan.probe)[None])
    state = {name: value for name, value in trained.items() if name.startswith("network.")}
    fingerprint = probe_fingerprint(scan)
    own = model.state_dict()
    if fingerprint in known:
        row, n_modes = known.index(fingerprint), scan.probe.shape[0]
        state["probe"] = trained["probe"][row : row + 1, :n_modes]
        state["photon_scale"] = trained["photon_scale"][row : row + 1]
        state["log_intensity_scale"] = trained["log_intensity_scale"][row : row + 1]
        log.info("probe: as refined in training, which started from the probe of this scan")
    else:
        state |= {name: own[name] for name in ("probe", "photon_scale", "log_intensity_scale")}
        log.info("probe: from the file of the scan, which the model was not trained on")
    model.load_state_dict(state)
    return model


def refuse_folder_of_model(run_dir: Path) -> None:
    """Refuse to write a reconstruction among the files of a training, whose records it would replace.

    Raises:
        ConfigError: the folder holds a model.
    """
    if (run_dir / ARCHIVE).exists():
        message = f"expected a folder without a model; got {run_dir}. Choose another one, such as a folder below it."
        raise ConfigError([Failure("output_dir", f"output_dir: {message}")])


def refuse_several_objects(scan: RawData) -> None:
    """Refuse a scan whose positions belong to several objects: they would be averaged on one canvas.

    Raises:
        DataError: ``scan_index`` names more than one object.
    """
    objects = np.unique(scan.scan_index)
    if len(objects) > 1:
        raise DataError(
            f"{scan.path or 'scan'}: scan_index: expected the positions of one object in a file to reconstruct; got "
            f"{len(objects)} objects. Write a file for each, and reconstruct their folder."
        )


def chosen_patterns(config: InferenceConfig, scan: RawData, seed: int) -> Indices:
    """Patterns that enter a reconstruction: not held out, and as many as the configuration asks for.

    ``n_subsample`` patterns are drawn first; ``n_groups`` keeps those that belong to so many neighbour groups.
    ``subsample_seed`` decides the choice, or else ``seed``.
    """
    seed = seed if config.subsample_seed is None else config.subsample_seed
    usable = usable_patterns(scan)
    if config.n_subsample is not None:
        usable = usable[select_positions(len(usable), config.n_subsample, seed)]
    if config.n_groups is None or config.n_groups >= len(usable):
        return usable
    groups = neighbor_groups(
        scan.positions_px[usable],
        config.model.gridsize,
        config.neighbor_count,
        config.n_groups,
        seed,
        scan_index=scan.scan_index[usable],
    )
    return usable[np.unique(groups)]


def measure(reconstruction: Reconstruction, scan: RawData) -> dict[str, Any]:
    """R factor and Poisson deviance on the held-out patterns; on all patterns of a scan that holds none out."""
    held = np.flatnonzero(scan.holdout) if scan.holdout is not None else np.empty(0, dtype=np.int64)
    indices = held if len(held) else np.arange(len(scan.patterns))
    return {
        "patterns": "held out" if len(held) else "all",
        "n_patterns": len(indices),
        **metrics.agreement(lambda: _blocks(reconstruction, scan, indices)),
    }


def _blocks(reconstruction: Reconstruction, scan: RawData, indices: Indices) -> Iterator[metrics.Block]:
    for first in range(0, len(indices), MEASURED_AT_ONCE):
        block = indices[first : first + MEASURED_AT_ONCE]
        bad = scan.bad_pixels
        measured = np.array(True) if bad is None else ~(bad if bad.ndim == 2 else bad[block])
        yield metrics.Block(predicted_amplitude(reconstruction, scan, block), scan.amplitude(block), measured)


def _one_scan(
    payload: InferencePayload, bundle: Bundle, scan: RawData, folder: Path, fabric: Fabric
) -> ReconstructionResult:
    refuse_several_objects(scan)
    config = payload.tf_inference_config
    model = load_model(payload, bundle, scan)
    indices = chosen_patterns(config, scan, payload.execution_config.seed)
    result = reconstruct(
        model,
        payload.pt_model_config,
        scan,
        indices,
        inference=payload.pt_inference_config,
        execution=payload.execution_config,
        fabric=fabric,
    )
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        save_arrays(folder / "reconstruction.npz", result, scan, debug=config.debug)
        save_reconstruction(folder / "reconstruction.png", result.object, result.probe)
    figures = {"seconds": result.seconds, "n_patterns_used": result.n_patterns, **measure(result, scan)}
    pair = _compared(result, scan)
    figures |= {} if pair is None else pair.figures()
    if fabric.is_global_zero:
        write_json(folder / "metrics.json", figures)
        if pair is not None:
            save_comparison(folder / "comparison.png", pair, result.probe, scan.probe_truth)
        log.info("%s: %s", scan.path, ", ".join(f"{name} {_short(value)}" for name, value in figures.items()))
    return ReconstructionResult(folder, scan, result, figures)


def _compared(result: Reconstruction, scan: RawData) -> metrics.Comparison | None:
    """The object beside the known one; None, with the reason in the log, where they cannot be compared."""
    if scan.object_truth is None:
        return None
    try:
        return metrics.compare(result.canvas, scan.object_truth, result.canvas_corner_px, result.coverage)
    except DataError as error:
        log.warning("%s: not compared with the known object: %s", scan.path, error)
        return None


def save_arrays(path: Path, result: Reconstruction, scan: RawData, *, debug: bool) -> Path:
    """Write ``object`` complex64 (H, W), ``probe`` complex64 (modes, N, N) and ``corner_px`` int64 (2,).

    With ``debug`` also ``canvas`` and ``coverage`` before trimming, ``canvas_corner_px``, and ``pattern_r_factor``, the
    R factor of every pattern, float64 (n,).
    """
    arrays: dict[str, Any] = {
        "object": result.object,
        "probe": result.probe,
        "corner_px": np.array(result.corner_px, dtype=np.int64),
    }
    if debug:
        arrays |= {
            "canvas": result.canvas,
            "coverage": result.coverage,
            "canvas_corner_px": np.array(result.canvas_corner_px, dtype=np.int64),
            "pattern_r_factor": _pattern_r_factors(result, scan),
        }
    np.savez(path, **arrays)
    return path


def _pattern_r_factors(result: Reconstruction, scan: RawData) -> np.ndarray:
    alone = [np.array([i]) for i in range(len(scan.patterns))]
    return np.array([metrics.agreement(lambda i=i: _blocks(result, scan, i))["r_factor"] for i in alone])


def _stem(scan: RawData, number: int) -> str:
    return scan.path.stem if scan.path is not None else f"scan-{number}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
