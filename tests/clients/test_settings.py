"""Every setting of ptychodus decides the fields that docs/ptychodus.md says."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ptychodus.api.parameters import Parameter
from ptychodus.api.settings import SettingsRegistry
from ptychodus.model.ptychopinn_torch.core import PtychoPINNTorchReconstructorLibrary
from ptychodus.model.ptychopinn_torch.reconstructor import _build_configs

from ptycho.config.errors import ConfigError

SETTINGS: dict[str, dict[str, list[str]]] = tomllib.loads(
    (Path(__file__).parents[2] / "docs" / "ptychodus.toml").read_text()
)
OTHER_WORDS = {
    "data_normalization_mode": "Group",
    "neighbor_lookup_method": "Min_dist",
    "scan_pattern": "Rectangular",
    "data_scaling_method": "Max",
    "loss_function": "MAE",
    "amplitude_activation_function": "sigmoid",
    "auxiliary_amplitude_loss": "Total_Variation",
    "auxiliary_phase_loss": "Mean_Deviation",
    "device": "cpu",
    "distributed_strategy": "ddp",
    "learning_rate_scheduler": "Cosine",
    "patch_weighting_method": "uniform",
}
OTHER_NUMBERS = {"model_size": 64, "y_lower_bound": 0.2, "x_lower_bound": 0.2, "decoder_spatial_kernel": 5}
ONE_VALUE = {"max_position_jitter", "offset"}
"""Settings whose fields have one value."""


def library() -> tuple[SettingsRegistry, PtychoPINNTorchReconstructorLibrary]:
    registry = SettingsRegistry()
    return registry, PtychoPINNTorchReconstructorLibrary(registry, is_developer_mode_enabled=False)


def parameters(registry: SettingsRegistry, group: str) -> dict[str, Parameter[Any]]:
    return dict(registry[group].parameters())


def fields(found: PtychoPINNTorchReconstructorLibrary) -> dict[str, Any]:
    """Every field of the configurations that the application makes of its settings."""
    configs = _build_configs(
        "Unsupervised",
        found.data_settings,
        found.model_settings,
        found.training_settings,
        found.inference_settings,
    )
    return {
        f"{type(config).__name__}.{field.name}": getattr(config, field.name)
        for config in configs
        for field in dataclasses.fields(config)
    }


def other(name: str, value: Any) -> Any:
    """Another value than the one in force."""
    if name in OTHER_WORDS or name in OTHER_NUMBERS:
        return (OTHER_WORDS | OTHER_NUMBERS)[name]
    if isinstance(value, str):
        return f"{value} of another kind"
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2 + 0.02


def test_every_setting_is_documented() -> None:
    registry, _ = library()
    assert {group: set(parameters(registry, group)) for group in SETTINGS} == {
        group: set(names) for group, names in SETTINGS.items()
    }


@pytest.mark.parametrize(
    ("group", "setting"), [(group, setting) for group, settings in SETTINGS.items() for setting in settings]
)
def test_a_setting_decides_the_fields_that_are_documented(group: str, setting: str) -> None:
    registry, found = library()
    before = fields(found)
    parameter = parameters(registry, group)[setting]
    parameter.set_value(other(setting, parameter.get_value()))
    if setting in ONE_VALUE:
        with pytest.raises(ConfigError, match=SETTINGS[group][setting][0]):
            fields(found)
        return
    after = fields(found)
    assert {name for name in after if after[name] != before[name]} == set(SETTINGS[group][setting])
