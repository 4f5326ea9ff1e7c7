"""The translation between canonical configurations and those of this backend."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho.config import canonical
from ptycho_torch import config_params as torch_side
from ptycho_torch.config_bridge import (
    NOT_BRIDGED,
    TABLE,
    from_inference_config,
    from_training_config,
    to_inference_config,
    to_model_config,
    to_training_config,
)
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from tests.refusals import message

SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "inference": InferenceConfig,
}
CANONICAL = (canonical.ModelConfig, canonical.TrainingConfig, canonical.InferenceConfig)


def names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def translated(config: canonical.TrainingConfig) -> canonical.TrainingConfig:
    """There and back."""
    data, model, training = from_training_config(config)
    back = to_model_config(data, model)
    return to_training_config(back, data, model, training)


# The table -----------------------------------------------------------------------------------------------------


def test_every_canonical_field_is_in_the_table_or_left_out_for_a_reason():
    fields = set().union(*map(names, CANONICAL)) - {"model", "data"}
    said = [pair.field for pair in TABLE] + [name for name in NOT_BRIDGED if "." not in name]
    assert sorted(said) == sorted(fields)


def test_every_field_of_this_backend_is_in_the_table_or_left_out_for_a_reason():
    fields = {f"{section}.{name}" for section, cls in SECTIONS.items() for name in names(cls)}
    said = [name for pair in TABLE for name in pair.torch] + [name for name in NOT_BRIDGED if "." in name]
    assert sorted(said) == sorted(fields)
    assert all(NOT_BRIDGED.values())


def test_the_defaults_of_both_sides_agree():
    assert from_training_config(canonical.TrainingConfig()) == (
        DataConfig(),
        ModelConfig(probe_mask=False),
        TrainingConfig(),
    )
    assert to_model_config(DataConfig(), ModelConfig()) == canonical.ModelConfig()


EXAMPLES: dict[str, Any] = {
    "N": 128,
    "gridsize": 3,
    "n_filters_scale": 4,
    "model_type": "supervised",
    "architecture": "cnn",
    "n_physics_steps": 2,
    "n_unrolled_steps": 5,
    "amp_activation": "swish",
    "object_big": False,
    "probe_big": False,
    "pad_object": False,
    "probe_mask": True,
    "probe_mask_sigma": 2.5,
    "probe_mask_diameter": 40.0,
    "probe_scale": 7.0,
    "gaussian_smoothing_sigma": 0.5,
    "probe_trainable": True,
    "intensity_scale_trainable": False,
    "torch_loss_mode": "mae",
    "nphotons": 1e5,
    "n_groups": 77,
    "subsample_seed": 3,
    "neighbor_count": 9,
    "measurement_domain": "intensity",
    "nepochs": 7,
    "nll_weight": 0.25,
    "batch_size": 5,
    "mae_weight": 0.5,
    "realspace_weight": 0.1,
    "realspace_mae_weight": 0.2,
    "optimizer": "sgd",
    "momentum": 0.5,
    "weight_decay": 0.01,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "lr_warmup_epochs": 2,
    "lr_min_ratio": 0.2,
    "plateau_factor": 0.3,
    "plateau_patience": 4,
    "plateau_min_lr": 1e-6,
    "plateau_threshold": 0.01,
    "train_data_file": Path("a.npz"),
    "test_data_file": Path("b.npz"),
    "output_dir": Path("out"),
}


def test_every_pair_has_an_example_that_is_not_the_default():
    assert EXAMPLES.keys() == {pair.field for pair in TABLE}


@pytest.mark.parametrize("pair", TABLE, ids=lambda pair: pair.field)
def test_a_pair_carries_its_value_both_ways_and_no_other(pair: Any):
    base = {"train_data_file": Path("x.npz"), "test_data_file": Path("y.npz"), "n_groups": 8}
    model, training = names(canonical.ModelConfig), base | {pair.field: EXAMPLES[pair.field]}
    nested = canonical.ModelConfig(**{name: value for name, value in training.items() if name in model})
    config = canonical.TrainingConfig(
        model=nested, **{name: value for name, value in training.items() if name not in model}
    )
    assert translated(config) == config
    before = dict(zip(SECTIONS, from_training_config(canonical.TrainingConfig(**base)), strict=False))
    after = dict(zip(SECTIONS, from_training_config(config), strict=False))
    changed = {
        f"{section}.{name}"
        for section in before
        for name, value in dataclasses.asdict(after[section]).items()
        if value != dataclasses.asdict(before[section])[name]
    }
    assert changed
    assert changed <= set(pair.torch)


# Values --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.sampled_from([32, 64, 256]), st.floats(0, 1e3), st.booleans())
def test_there_and_back_is_the_same(gridsize: int, n: int, weight: float, mask: bool):
    model = canonical.ModelConfig(N=n, gridsize=gridsize, probe_mask=mask)
    config = canonical.TrainingConfig(
        model=model, nll_weight=weight, train_data_file="a", test_data_file="b", n_groups=1
    )
    assert translated(config) == config


@given(st.integers(1, 6))
def test_gridsize_gives_the_grid_and_the_patterns_in_a_group(g: int):
    data, model, _ = from_training_config(canonical.TrainingConfig(model=canonical.ModelConfig(gridsize=g)))
    assert (data.grid_size, data.C, model.C_model, model.C_forward) == ((g, g), g * g, g * g, g * g)


@pytest.mark.parametrize(("mode", "model_type"), [("Unsupervised", "pinn"), ("Supervised", "supervised")])
def test_the_mode_is_the_model_type(mode: str, model_type: str):
    assert to_model_config(DataConfig(), ModelConfig(mode=mode)).model_type == model_type
    config = canonical.TrainingConfig(model=canonical.ModelConfig(model_type=model_type))
    assert from_training_config(config)[1].mode == mode


@pytest.mark.parametrize("word", ["silu", "swish"])
def test_silu_and_swish_are_one_function(word: str):
    config = canonical.TrainingConfig(model=canonical.ModelConfig(amp_activation=word))
    model = from_training_config(config)[1]
    assert model.amp_activation == "silu"
    assert to_model_config(DataConfig(), model).amp_activation == "swish"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(None, False), (False, False), (True, True), (torch.ones(4, 4), True), (np.zeros((4, 4)), True)],
)
def test_a_probe_mask_is_on_unless_it_is_none_or_false(mask: object, expected: bool):
    assert to_model_config(DataConfig(), ModelConfig(probe_mask=mask)).probe_mask is expected
    assert to_model_config(
        DataConfig(), ModelConfig(probe_mask=mask), {"probe_mask": not expected}
    ).probe_mask is not (expected)


REQUIRED = {"train_data_file": "a.npz", "test_data_file": "b.npz", "n_groups": 4}


@pytest.mark.parametrize(("nll", "weight"), [(True, 1.0), (False, 0.0)])
def test_nll_switches_the_weight(nll: bool, weight: float):
    model = canonical.ModelConfig()
    config = to_training_config(model, DataConfig(), ModelConfig(), TrainingConfig(nll=nll), REQUIRED)
    assert config.nll_weight == weight
    assert from_training_config(canonical.TrainingConfig(nll_weight=weight))[2].nll is nll


def test_the_seed_is_inherited_from_the_data():
    data = DataConfig(subsample_seed=5)
    config = to_training_config(canonical.ModelConfig(), data, ModelConfig(), TrainingConfig(), REQUIRED)
    assert config.subsample_seed == 5


def test_an_override_wins():
    config = to_training_config(
        canonical.ModelConfig(),
        DataConfig(nphotons=1e5),
        ModelConfig(),
        TrainingConfig(batch_size=4),
        REQUIRED | {"nphotons": 1e6, "batch_size": 8, "n_subsample": 100},
    )
    assert (config.nphotons, config.batch_size, config.n_subsample) == (1e6, 8, 100)


def test_an_inference_config_takes_files_from_the_overrides():
    model = canonical.ModelConfig(N=128)
    overrides = {"model_path": "m", "test_data_file": "b.npz", "debug": True}
    config = to_inference_config(model, DataConfig(n_groups=9, K=6), InferenceConfig(), overrides)
    assert config.model is model
    assert (config.n_groups, config.neighbor_count, config.debug) == (9, 6, True)
    data, _ = from_inference_config(config)
    assert (data.N, data.n_groups, data.K) == (128, 9, 6)


# What is wrong -------------------------------------------------------------------------------------------------


def test_a_grid_that_is_not_square_is_refused():
    assert "DataConfig.grid_size: expected as many neighbours along y as along x; got 2 and 3." in message(
        lambda: to_model_config(DataConfig(grid_size=(2, 3)), ModelConfig())
    )


def test_group_sizes_that_contradict_the_grid_are_refused():
    data = DataConfig(grid_size=(2, 2), C=9)
    lines = message(lambda: to_model_config(data, ModelConfig(C_model=5, C_forward=4))).splitlines()
    assert [line.split(":")[0] for line in lines] == ["DataConfig.C", "ModelConfig.C_model"]


def test_a_training_names_everything_it_lacks():
    text = message(
        lambda: to_training_config(canonical.ModelConfig(), DataConfig(), ModelConfig(), TrainingConfig())
    )
    assert "train_data_file is required" in text
    assert "n_groups is required" in text


def test_an_inference_names_everything_it_lacks():
    text = message(lambda: to_inference_config(canonical.ModelConfig(), DataConfig(), InferenceConfig()))
    assert "model_path is required" in text
    assert "n_groups is required" in text


def test_a_missing_test_file_is_one_warning():
    overrides = {"train_data_file": "a.npz", "n_groups": 4}
    with pytest.warns(UserWarning, match=r"training\.test_data_file") as caught:
        to_training_config(canonical.ModelConfig(), DataConfig(), ModelConfig(), TrainingConfig(), overrides)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_nothing_is_warned_about_when_everything_is_there():
    with warnings.catch_warnings(record=True) as caught:
        to_training_config(canonical.ModelConfig(), DataConfig(), ModelConfig(), TrainingConfig(), REQUIRED)
    assert caught == []


@pytest.mark.parametrize("ours", [{}, {"n_groups": 9}])
def test_an_old_name_in_overrides_is_the_field(ours: dict[str, int]):
    overrides = {"train_data_file": "a.npz", "test_data_file": "b.npz", "n_images": 3}
    with pytest.warns(DeprecationWarning, match="n_images is an old name; use n_groups"):
        config = to_training_config(
            canonical.ModelConfig(), DataConfig(**ours), ModelConfig(), TrainingConfig(), overrides
        )
    assert config.n_groups == 3
    places = {"model_path": "run", "test_data_file": "b.npz", "n_images": 4}
    with pytest.warns(DeprecationWarning, match="n_images is an old name; use n_groups"):
        inference = to_inference_config(
            canonical.ModelConfig(), DataConfig(**ours), InferenceConfig(), places
        )
    assert inference.n_groups == 4


def test_an_old_name_beside_the_new_one_is_refused():
    overrides = REQUIRED | {"n_images": 3, "n_groups": 3}
    text = message(
        lambda: to_training_config(
            canonical.ModelConfig(), DataConfig(), ModelConfig(), TrainingConfig(), overrides
        )
    )
    assert text == "training.n_groups: given twice, as n_groups and as n_images. Keep one of them."


def test_a_wrong_override_is_refused_by_its_canonical_name():
    assert "model.gridsiz: no such setting. Did you mean model.gridsize?" in message(
        lambda: to_model_config(DataConfig(), ModelConfig(), {"gridsiz": 2})
    )


def test_the_classes_of_this_backend_are_all_bridged_or_empty():
    assert names(torch_side.DatagenConfig) == set()
