"""The classes that ptychodus trains and reconstructs with: doors to `ptycho_torch.runs.training` and `reconstruction`.

Data are as ptychodus exports them: counts, and positions in object-array pixels where a patch of N pixels is centred
on the coordinate (N - 1) / 2 of its own.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final, Self

import lightning
import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure
from ptycho.run_folder import RunFolder
from ptycho_torch.api.data_loader import DataloaderFormats, PtychoDataLoader
from ptycho_torch.api.settings import (
    check_checkpoints,
    check_data,
    execution_of,
    inference_execution,
    processes_of,
    training_payload,
)
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.config_params import DataConfig, DatagenConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.data.options import with_probe_options
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.reassembly import reconstruct
from ptycho_torch.runs.outcome import warn_of
from ptycho_torch.runs.reconstruction import illuminated_model, warn_of_picture
from ptycho_torch.runs.record import logged
from ptycho_torch.runs.training import PreparedTraining, TrainingResult, check, finish, folder_of, prepare
from ptycho_torch.runtime import Ranks, build_fabric, read_checkpoint, run_environment

__all__ = [
    "ConfigManager",
    "DataloaderFormats",
    "InferenceEngine",
    "PtychoDataLoader",
    "PtychoModel",
    "Trainer",
]

NOT_ARCHITECTURE: Final = {
    *("loss_function", "amp_loss", "amp_loss_coeff", "phase_loss", "phase_loss_coeff"),
    *("amplitude_variance_loss", "amplitude_variance_coeff", "probe_reference_coeff", "mode"),
    *("intensity_scale", "intensity_scale_trainable", "probe_trainable", "num_datasets", "probe_mask"),
}
"""Fields of a model that no weight depends on."""


def config_of(kind: type, value: Any) -> Any:
    """A configuration of a class, from its dictionary or as it is."""
    return kind(**value) if isinstance(value, Mapping) else value


@dataclasses.dataclass
class ConfigManager:
    """The configurations of a run."""

    data_config: DataConfig = dataclasses.field(default_factory=DataConfig)
    model_config: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training_config: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    inference_config: InferenceConfig = dataclasses.field(default_factory=InferenceConfig)
    datagen_config: DatagenConfig = dataclasses.field(default_factory=DatagenConfig)

    @classmethod
    def from_loaded_model(cls, ptycho_model: "PtychoModel") -> Self:
        """The configurations that a loaded model was trained with."""
        module = ptycho_model.module
        return cls(
            data_config=module.data_config,
            model_config=module.model_config,
            training_config=module.training_config,
            inference_config=module.inference_config,
        )

    def validate_arch_compatibility(self, ptycho_model: "PtychoModel") -> None:
        """Compare with a loaded model.

        Raises:
            ConfigError: the fields that make another network of it, all of them.
        """
        module = ptycho_model.module
        pairs = [
            (f"{name}.{field}", getattr(mine, field), getattr(theirs, field))
            for name, mine, theirs in (
                ("ModelConfig", self.model_config, module.model_config),
                ("DataConfig", self.data_config, module.data_config),
            )
            for field in (("N", "C") if name == "DataConfig" else _architecture())
        ]
        wrong = [
            Failure(
                name, f"{name}: expected {theirs!r}, as the model was trained; got {mine!r}. Make them agree."
            )
            for name, mine, theirs in pairs
            if mine != theirs
        ]
        if wrong:
            raise ConfigError(wrong)


def _architecture() -> list[str]:
    return [field.name for field in dataclasses.fields(ModelConfig) if field.name not in NOT_ARCHITECTURE]


class PtychoModel:
    """A network and its configurations (classes, or the dictionaries of a checkpoint).

    Attributes:
        model: the Lightning module; callers assign it.
    """

    def __init__(
        self,
        model_config: ModelConfig | Mapping[str, Any],
        data_config: DataConfig | Mapping[str, Any],
        training_config: TrainingConfig | Mapping[str, Any],
        inference_config: InferenceConfig | Mapping[str, Any],
    ) -> None:
        self.model_config: ModelConfig = config_of(ModelConfig, model_config)
        self.data_config: DataConfig = config_of(DataConfig, data_config)
        self.training_config: TrainingConfig = config_of(TrainingConfig, training_config)
        self.inference_config: InferenceConfig = config_of(InferenceConfig, inference_config)
        self.model: PtychoPINN_Lightning | None = None

    @property
    def module(self) -> PtychoPINN_Lightning:
        """The network.

        Raises:
            ValueError: nobody has assigned it.
        """
        if self.model is None:
            raise ValueError("PtychoModel.model: expected a network; got none. Load a checkpoint first.")
        return self.model

    @classmethod
    def _new_model(cls, model: type[PtychoPINN_Lightning], config_manager: ConfigManager) -> Self:
        configs = (
            config_manager.model_config,
            config_manager.data_config,
            config_manager.training_config,
            config_manager.inference_config,
        )
        made = cls(*configs)
        made.model = model(*configs)
        return made

    @staticmethod
    def _extract_configs_from_checkpoint(
        path: str,
    ) -> tuple[Any, Any, Any, Any]:
        """The dictionaries (data, model, training, inference) in a checkpoint; None for what it lacks."""
        content = read_checkpoint(Path(path))
        kept = content.get("hyper_parameters", {})
        names = ("data_config", "model_config", "training_config", "inference_config")
        data, model, training, inference = (kept.get(name) for name in names)
        return data, model, training, inference


class Trainer:
    """A training that is about to begin.

    Attributes:
        _trainer: Lightning's, whose `callbacks` may be added to; they are called in this process, and with several
            devices in no other: there they may watch, and not stop the training or write checkpoints of their own.
        problem: why the training did not learn; None before the training and if it is sound.
    """

    problem: str | None = None

    def __init__(
        self,
        prepared: PreparedTraining,
        folder: RunFolder,
        held: contextlib.ExitStack,
        ranks: Ranks,
        told: tuple[PtychoDataLoader, ConfigManager],
    ) -> None:
        self._prepared, self._folder, self._held, self._ranks, self._told = (
            prepared,
            folder,
            held,
            ranks,
            told,
        )
        self._trainer: lightning.Trainer = prepared.trainer

    @classmethod
    def _from_lightning(
        cls,
        model: PtychoModel,
        dataloader: PtychoDataLoader,
        orchestration: str = "lightning",
        config_manager: ConfigManager | None = None,
    ) -> Self:
        """Read the data, and build network and Trainer.

        Raises:
            ConfigError, DataError: the settings, the machine or the data are wrong, all at once.
        """
        _check_word("orchestration", orchestration, "lightning")
        configs = dataloader.config_manager if config_manager is None else config_manager
        payload = _payload(dataloader, configs)
        ranks = Ranks(processes_of(payload.execution_config))
        with contextlib.ExitStack() as entered:
            entered.callback(_remove_empty, Path(dataloader.output_dir))
            with ranks.first():
                folder = entered.enter_context(folder_of(payload))
                folder.refuse_run(may_replace=False)
                prepared = _prepared(folder, dataloader, configs, payload)
            held = entered.pop_all()  # until it has trained, the folder is its own
        model.model = prepared.module
        return cls(prepared, folder, held, ranks, (dataloader.unread(), configs))

    def train(self, orchestration: str = "lightning", experiment_name: str = "") -> None:
        """Train, and keep the best weights.

        Args:
            orchestration: lightning.
            experiment_name: ignored by callers that leave it empty; any other is refused, since runs are told apart by
                their folders.

        Raises:
            ConfigError: the training diverged.
            RuntimeError: the process of another device failed.

        Warns:
            UserWarning: the training did not learn; see `problem`.
        """
        _check_word("orchestration", orchestration, "lightning")
        _check_word("experiment_name", experiment_name, "")
        with self._held, self._ranks.beside(_train_beside, *self._told):
            self.problem = _finish(self._prepared, self._folder).problem
        warn_of(self.problem)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _payload(loader: PtychoDataLoader, configs: ConfigManager) -> TrainingPayload:
    execution = execution_of(configs.training_config, configs.inference_config)
    check_checkpoints(execution)
    scans = loader.scans()
    check_data(configs.data_config, configs.model_config, len(scans))
    n_positions = sum(map(len, scans))
    return training_payload(configs, execution, loader.data_dir, Path(loader.output_dir), n_positions)


def _prepared(
    folder: RunFolder, loader: PtychoDataLoader, configs: ConfigManager, payload: TrainingPayload
) -> PreparedTraining:
    data = ScanDataModule(
        payload.tf_training_config,
        payload.execution_config,
        scans=loader.scans(),
        options=configs.data_config,
    )
    data = check(payload, data)
    with run_environment(payload.execution_config), logged(folder):
        return prepare(folder, payload, data)


def _finish(prepared: PreparedTraining, folder: RunFolder) -> TrainingResult:
    with run_environment(prepared.payload.execution_config), logged(folder, further=True):
        folder.begin(anew=False)
        return finish(prepared)


def _train_beside(loader: PtychoDataLoader, configs: ConfigManager, ready: Event) -> None:
    """Train in the process of another device."""
    payload = _payload(loader, configs)
    folder = folder_of(payload)
    prepared = _prepared(folder, loader, configs, payload)
    ready.set()
    _finish(prepared, folder)


def _check_word(name: str, given: str, only: str) -> None:
    if given.lower() != only:
        raise ValueError(f"{name}: expected {only!r}; got {given!r}.")


class InferenceEngine:
    """Reconstructs scans with a trained network."""

    def __init__(self, config_manager: ConfigManager, ptycho_model: PtychoModel) -> None:
        self.config_manager = config_manager
        self.ptycho_model = ptycho_model

    def predict_and_stitch(self, loader: PtychoDataLoader) -> NDArray[np.complex64]:
        """The object of a scan in memory.

        Args:
            loader: from `PtychoDataLoader.from_np`.

        Returns:
            Complex64 (H, W), rows and columns as the positions; its middle, the coordinate (n - 1) / 2, lies at the
            midpoint of the positions' bounding box, to half a pixel. Times the probe that was given it scatters the
            counts that were measured.

        Raises:
            ConfigError: the machine lacks what the settings ask for.
            DataError: patterns of another size than the network was trained on.

        Warns:
            UserWarning: the picture predicts the patterns no better than their mean does.
        """
        configs, module = self.config_manager, self.ptycho_model.module
        execution = inference_execution(configs)
        (scan,) = loader.scans()
        scan = with_probe_options(scan, configs.data_config)
        model = illuminated_model(
            configs.model_config,
            configs.data_config,
            module.model.state_dict(),
            module.probe_guess_sha256,
            scan,
        )
        with run_environment(execution):
            found = reconstruct(
                model,
                configs.model_config,
                scan,
                np.arange(len(scan)),
                inference=configs.inference_config,
                execution=execution,
                fabric=build_fabric(execution),
            )
            warn_of_picture(found, scan)
        factor = np.sqrt(np.sum(np.abs(found.probe.astype(np.complex128)) ** 2) / loader.probe_power)
        return (found.object * factor).astype(np.complex64)
