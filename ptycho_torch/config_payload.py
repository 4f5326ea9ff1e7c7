"""What a resolved request comes to: the payload of a run, with the origin of every value."""

import logging
from dataclasses import dataclass
from typing import Any, TypeVar

from ptycho import params
from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.legacy import update_legacy_dict
from ptycho.config.origins import Origin
from ptycho.config.request import Answer
from ptycho.config.section import section_of
from ptycho.display import settings_html
from ptycho_torch import config_params as torch_side
from ptycho_torch.config_bridge import from_training_config

T = TypeVar("T")


class ShownPayload:
    """A payload as a notebook shows it: every setting with its origin."""

    execution_config: PyTorchExecutionConfig
    sources: dict[str, Origin]

    def _repr_html_(self) -> str:
        execution = {f"execution.{name}": origin for name, origin in self.execution_config.sources.items()}
        return settings_html(type(self).__name__, self.sources | execution)

    @classmethod
    def refuse_other(cls, payload: object) -> None:
        """Refuse what is no such payload: a scan, for example.

        Raises:
            TypeError: it is something else.
        """
        if not isinstance(payload, cls):
            raise TypeError(
                f"payload: expected a {cls.__name__}; got an object of the type {type(payload).__name__}. For a scan, "
                "use ptycho.train or ptycho.reconstruct."
            )


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPayload(ShownPayload):
    """Everything a training needs to know.

    Attributes:
        tf_training_config: the canonical configuration (the name is historical).
        pt_data_config, pt_model_config, pt_training_config, pt_inference_config: the same for this backend.
        execution_config: how this machine runs it.
        overrides_applied: name -> origin of every value that is not a default, and what it beat; JSON-safe.
        sources: `section.field` -> origin of every canonical field.
    """

    tf_training_config: TrainingConfig
    pt_data_config: torch_side.DataConfig
    pt_model_config: torch_side.ModelConfig
    pt_training_config: torch_side.TrainingConfig
    pt_inference_config: torch_side.InferenceConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Any]
    sources: dict[str, Origin]


@dataclass(frozen=True)
class InferencePayload(ShownPayload):
    """Everything a reconstruction needs to know.

    Attributes:
        tf_inference_config: the canonical configuration (the name is historical).
        pt_data_config, pt_model_config, pt_training_config, pt_inference_config: the same for this backend; the
            training one is that of the trained model.
        execution_config: how this machine runs it.
        overrides_applied: name -> origin of every value that is not a default, and what it beat; JSON-safe.
        sources: `section.field` -> origin of every canonical field.
    """

    tf_inference_config: InferenceConfig
    pt_data_config: torch_side.DataConfig
    pt_model_config: torch_side.ModelConfig
    pt_training_config: torch_side.TrainingConfig
    pt_inference_config: torch_side.InferenceConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Any]
    sources: dict[str, Origin]


def training_payload(answer: Answer) -> TrainingPayload:
    """The payload of a resolved request for ModelConfig and TrainingConfig; fills the legacy dictionary."""
    config = completed(answer, TrainingConfig)
    return TrainingPayload(
        config,
        *from_training_config(config),
        inference_side(answer[PyTorchExecutionConfig], config.batch_size * config.model.gridsize**2),
        answer[PyTorchExecutionConfig],
        audit(answer),
        answer.sources,
    )


def populate_legacy_params(
    config: TrainingConfig | InferenceConfig | ModelConfig, *, intensity_scale: float | None = None
) -> None:
    """Fill `ptycho.params.cfg` from a canonical configuration (CONFIG-001); nothing else writes it.

    Args:
        config: the configuration.
        intensity_scale: amplitude in photon**0.5 of a pattern whose loaded values are one; None leaves what is there.
    """
    update_legacy_dict(params.cfg, config)
    if intensity_scale is not None:
        params.set("intensity_scale", intensity_scale)


def completed(answer: Answer, cls: type[T]) -> T:
    """The canonical configuration of an answer, checked as a whole, announced, and in the legacy dictionary."""
    config: Any = answer[cls]
    take_held(config, answer)
    announce(answer)
    populate_legacy_params(config)
    return config


def take_held(config: Any, answer: Answer) -> None:
    """Give settings the sections that they hold, as an answer has them."""
    for name, held in section_of(type(config)).nested.items():
        setattr(config, name, answer[held.cls])


def inference_side(execution: PyTorchExecutionConfig, training_patterns: int) -> torch_side.InferenceConfig:
    """Single patterns are predicted: by default as many at once as a training batch holds in its groups."""
    return torch_side.InferenceConfig(
        batch_size=execution.inference_batch_size or training_patterns,
        middle_trim=execution.middle_trim,
        pad_eval=execution.pad_eval,
        window=execution.reconstruction_window,
    )


def announce(answer: Answer) -> None:
    """Log what files set and the run does not use, what overrules the data or a flag, and what a recipe gave way to."""
    for told in answer.unused:
        logger.info(told)
    for name, origin in {**answer.sources, **answer[PyTorchExecutionConfig].sources}.items():
        for beaten in origin.shadowed:
            overruled = beaten.kind == "inferred" or (beaten.is_flag and origin.kind == "override")
            gave_way = beaten.kind == origin.kind == "recipe"
            if (overruled or gave_way) and beaten.value != origin.value:
                if gave_way:
                    logger.info("%s is %s, as %s", name, origin.value, origin)
                    continue
                told = name, origin.value, origin, beaten.value, beaten
                logger.warning("%s: %s (%s) overrules %s (%s)", *told)


def audit(answer: Answer) -> dict[str, Any]:
    """Every value that is not a default, by field or knob, with its origin and what it beat."""
    canonical = {name.split(".")[1]: origin for name, origin in answer.sources.items()}
    everything = {**canonical, **answer[PyTorchExecutionConfig].sources}
    return {name: origin.to_dict() for name, origin in everything.items() if origin.kind != "default"}
