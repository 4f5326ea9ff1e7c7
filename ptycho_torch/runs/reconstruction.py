"""What happens in a reconstruction run: from an inference payload to pictures, arrays and metrics in a folder."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ptycho.checksums import Checksums
from ptycho.config.canonical import InferenceConfig
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.grouping import neighbor_groups, select_positions
from ptycho.json_files import write_json
from ptycho.model_archive import PROBLEM, archive_files
from ptycho.raw_data import DataError, RawData, load_scans
from ptycho.run_files import PATTERNS, holds_training
from ptycho.run_folder import RunFolder, one_set
from ptycho.run_names import distinct_names
from ptycho.scan_domain import TrainedDomains, patterns_fingerprint
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.config_params import DataConfig, ModelConfig
from ptycho_torch.data.found import with_found
from ptycho_torch.data.groups import Indices
from ptycho_torch.data.module import usable_patterns
from ptycho_torch.model import PtychoPINN
from ptycho_torch.reassembly import Reconstruction, predicted_amplitude, reconstruct
from ptycho_torch.runs import metrics
from ptycho_torch.runs.completing import as_found
from ptycho_torch.runs.exports import export_of
from ptycho_torch.runs.figures import Compared, save_comparison, save_reconstruction
from ptycho_torch.runs.fingerprints import domains_of, probe_fingerprint
from ptycho_torch.runs.judging import (
    compared,
    in_blocks,
    judge,
    measured_by,
    tell_doubt,
    tell_figures,
    tell_problem,
)
from ptycho_torch.runs.outcome import problem_of_picture, warn_of
from ptycho_torch.runs.product import pixel_sizes_of, product_of
from ptycho_torch.runs.record import logged, refuse_replaced, write_configuration
from ptycho_torch.runs.report.evidence import evidence, save_evidence
from ptycho_torch.runs.report.writing import add_report
from ptycho_torch.runs.shown import ShownReconstruction
from ptycho_torch.runs.trained import TrainedModel, check_tensors, load_trained
from ptycho_torch.runtime import (
    build_fabric,
    check_reconstruction,
    is_first_process,
    naming_losses,
    run_environment,
)
from ptycho_torch.runtime.memory import peak_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconstructionResult(ShownReconstruction):
    """A finished reconstruction of one scan.

    Attributes:
        run_dir: folder with report.html, reconstruction.npz, reconstruction.png, patterns.npz, metrics.json,
            and config.json.
        scan: what was reconstructed.
        reconstruction: the object and its registration.
        metrics: R factor, deviance, both of the mean pattern, figures against the known object where there is one, and
            ``problem`` without the name of the scan.
        problem: why the picture is not that of the object; None where nothing is known against it.
    """

    run_dir: Path
    scan: RawData
    reconstruction: Reconstruction = field(repr=False)
    metrics: dict[str, Any]
    problem: str | None


def reconstruct_scans(
    payload: InferencePayload, scans: Sequence[RawData] | None = None, *, overwrite: bool = False
) -> list[ReconstructionResult]:
    """Reconstruct the scan, or every scan of the folder, that a payload names.

    Args:
        payload: from ``create_inference_payload``.
        scans: scans in memory; None: those that the payload names.
        overwrite: whether a reconstruction that is in the output folder is replaced; it is kept aside until this one
            has saved.

    Returns:
        One result for each scan. A single scan writes into ``output_dir``, several into a folder each below it. The
        files of a scan appear together.

    Raises:
        ConfigError: the machine lacks what the configuration asks for; raised before anything is read.
        ConfigError: the output folder holds a run, or another run writes into it.
        BundleError: the model cannot be read.
        DataError: the scan does not fit the data contract or the model.
    """
    InferencePayload.refuse_other(payload)
    config, execution = payload.tf_inference_config, payload.execution_config
    check_reconstruction(execution, config)
    run_dir = Path(str(config.output_dir))
    refuse_folder_of_model(run_dir)
    with (
        RunFolder(run_dir, writes=is_first_process()) as home,
        run_environment(execution),
        logged(home),
        naming_losses(execution, run_dir, trains=False),
    ):
        if not overwrite:
            home.refuse_run(may_resume=False)
        fabric = build_fabric(execution)
        trained = load_trained(Path(str(config.model_path)))
        check_tensors(trained, payload.pt_model_config, payload.pt_data_config)
        if scans is None:
            place = Path(str(config.test_data_file))
            scans = load_scans(place, config.measurement_domain, trained.domains, config.data)
        export_of(config).refuse(scans)
        for scan in scans:
            refuse_several_objects(scan)
        scans = [as_found(with_found(scan, config.start, "inference.start"), fabric) for scan in scans]
        refuse_replaced(config, run_dir)
        folders = home.folders_for(distinct_names(stem_of(scan, i) for i, scan in enumerate(scans)))
        home.begin(anew=True)
        domains = {str(scan.path): f"{scan.domain} ({scan.domain_reason})" for scan in scans}
        if fabric.is_global_zero:
            facts = {
                "measurement_domain": domains,
                "domains": domains_of(scans).to_json(),
                "object_pixel_size_m": pixel_sizes_of(scans),
            }
            read = [*archive_files(Path(str(config.model_path))), *(scan.path for scan in scans)]
            write_configuration(
                run_dir, config, execution, payload.sources, payload.overrides_applied, facts, read
            )
        results: list[ReconstructionResult] = []
        for scan, folder in zip(scans, folders, strict=True):
            with home.for_scan(folder):
                results.append(_one_scan(payload, trained, scan, folder, fabric))
        home.saved()
        fabric.barrier()  # what the first process writes is there for every process that returns
        return results


def illuminated_model(
    model_config: ModelConfig,
    data_config: DataConfig,
    trained: Mapping[str, Tensor],
    known: Sequence[str],
    scan: RawData,
    domains: TrainedDomains | None = None,
) -> PtychoPINN:
    """A trained model with the probe of a scan.

    Args:
        model_config: how it was built.
        data_config: the same.
        trained: its state after training.
        known: fingerprints of the probe guesses that its probes started from.
        scan: whose probe is used: as refined where it is known, else as it is.
        domains: how the scans of the training were read, for the log; None: that is not known.

    Raises:
        DataError: the patterns have another size than the model was trained on.
    """
    n_pixels = scan.patterns.shape[-1]
    if n_pixels != data_config.N:
        raise DataError(
            f"{scan.path or 'scan'}: patterns: expected {data_config.N} x {data_config.N} pixels, as the "
            f"model was trained on; got {n_pixels} x {n_pixels}. Train a model for this size."
        )
    model = PtychoPINN(model_config, data_config, torch.from_numpy(scan.probe)[None])
    state = {name: value for name, value in trained.items() if name.startswith("network.")}
    fingerprint = probe_fingerprint(scan)
    if any(value.dtype == torch.float64 for value in state.values()):
        model = model.double()  # loads every digit of the weights
    own = model.state_dict()
    if fingerprint in known:
        row, n_modes = known.index(fingerprint), scan.probe.shape[0]
        state["probe"] = trained["probe"][row : row + 1, :n_modes]
        state["photon_scale"] = trained["photon_scale"][row : row + 1]
        state["log_intensity_scale"] = trained["log_intensity_scale"][row : row + 1]
        log.info("probe: that of the training, which began with the probe of this scan")
    else:
        state |= {name: own[name] for name in ("probe", "photon_scale", "log_intensity_scale")}
        _say_where_from(scan, domains)
    model.load_state_dict(state)
    return model


def _say_where_from(scan: RawData, domains: TrainedDomains | None) -> None:
    """Log why the probe is that of the scan, and none that the training refined."""
    read = None if domains is None else domains.of_scan(patterns_fingerprint(scan.patterns))
    if read is None:
        log.info("probe: that of the scan; the model was not trained on it")
    elif read.domain == scan.domain:
        log.info("probe: that of the scan; the model was trained on these patterns with another probe")
    else:
        log.warning(
            "%s: patterns are read as %s, but the model was trained on them as %s; the probe is that of the scan. "
            "Leave out measurement_domain to read them as in the training.",
            printable(str(scan.path or "scan")),
            scan.domain,
            read.domain,
        )


def refuse_folder_of_model(run_dir: Path) -> None:
    """Refuse to write a reconstruction among the files of a training, whose records it would replace.

    Raises:
        ConfigError: the folder holds a training, finished or not.
    """
    if holds_training(run_dir):
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
    """Figures of the held-out patterns, see `judge`; of all patterns of a scan that holds none out."""
    held = np.flatnonzero(scan.holdout) if scan.holdout is not None else np.empty(0, dtype=np.int64)
    indices, word = (held, "held out") if len(held) else (np.arange(len(scan.patterns)), "all")
    return judge(scan, indices, word, lambda some: _blocks(reconstruction, scan, some))


def _blocks(reconstruction: Reconstruction, scan: RawData, indices: Indices) -> Iterator[metrics.Block]:
    for block in in_blocks(indices):
        yield metrics.Block(predicted_amplitude(reconstruction, scan, block), *measured_by(scan, block))


def _one_scan(
    payload: InferencePayload, trained: TrainedModel, scan: RawData, folder: Path, fabric: Fabric
) -> ReconstructionResult:
    config = payload.tf_inference_config
    model = illuminated_model(
        payload.pt_model_config,
        payload.pt_data_config,
        trained.state_dict,
        trained.probes,
        scan,
        trained.domains,
    )
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
    figures = {
        "seconds": result.seconds,
        "n_patterns_used": result.n_patterns,
        **peak_memory(),
        **measure(result, scan),
    }
    pair = compared(result, scan)
    figures |= {} if pair is None else pair.figures()
    figures[PROBLEM] = problem_of_picture(figures)
    problem = tell_problem(scan, figures[PROBLEM])
    if problem is None:
        tell_doubt(scan, figures, "network")
    if fabric.is_global_zero:
        product = product_of(result, scan)
        placed = product.placed(figures)
        with one_set(Path(str(config.output_dir)), folder) as new:
            product.save(new, **(_further_arrays(result, scan) if config.debug else {}))
            export_of(config).write(new, product)
            save_reconstruction(
                new / "reconstruction.png", result.object, result.probe, product.coverage, placed
            )
            if pair is not None:
                shown = [Compared("reconstructed", pair, result.probe)]
                save_comparison(new / "comparison.png", shown, scan.probe_truth, placed)
            write_json(new / "metrics.json", figures)
            patterns = evidence(scan, lambda some: _blocks(result, scan, some), scan.positions_px)
            save_evidence(new / PATTERNS, patterns)
            add_report(new, folder, Path(str(config.output_dir)))
            Checksums(config.output_dir).list_moved({folder / file.name: file for file in new.iterdir()})
        tell_figures(scan, figures)
    return ReconstructionResult(folder, scan, result, figures, problem)


def warn_of_picture(reconstruction: Reconstruction, scan: RawData) -> None:
    """Warn of a picture that is not that of the object, where an array is all that a caller is given."""
    warn_of(tell_problem(scan, problem_of_picture(measure(reconstruction, scan))))


def _further_arrays(result: Reconstruction, scan: RawData) -> dict[str, Any]:
    """What `debug` adds to reconstruction.npz.

    ``canvas`` and ``canvas_coverage`` before trimming, ``canvas_corner_px``, and ``pattern_r_factor``, the R factor of
    every pattern, float64 (n,).
    """
    return {
        "canvas": result.canvas,
        "canvas_coverage": result.coverage,
        "canvas_corner_px": np.array(result.canvas_corner_px, dtype=np.int64),
        "pattern_r_factor": _pattern_r_factors(result, scan),
    }


def _pattern_r_factors(result: Reconstruction, scan: RawData) -> np.ndarray:
    alone = [np.array([i]) for i in range(len(scan.patterns))]
    return np.array([metrics.agreement(lambda i=i: _blocks(result, scan, i))["r_factor"] for i in alone])


def stem_of(scan: RawData, number: int) -> str:
    """What the folder of a scan is called after, one of several."""
    return scan.path.stem if scan.path is not None else f"scan-{number}"
