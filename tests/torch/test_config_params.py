"""The configurations of this backend: what they accept, and what they cost."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho.config.section import section_of
from ptycho_torch.config_params import DataConfig, DatagenConfig, InferenceConfig, ModelConfig, TrainingConfig
from tests.refusals import message

CLASSES = [DataConfig, ModelConfig, TrainingConfig, InferenceConfig, DatagenConfig]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_a_default_and_a_help_text(cls: type):
    cls()
    assert list(section_of(cls).help) == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_configuration_survives_asdict_replace_pickle_and_copy(cls: type):
    config = cls()
    assert cls(**dataclasses.asdict(config)) == config
    assert dataclasses.replace(config) == config
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: DataConfig(N=50), "DataConfig.N: expected a multiple of 16 from 32 up"),
        (lambda: DataConfig(grid_size=(2, 0)), "DataConfig.grid_size: expected two integers >= 1"),
        (lambda: DataConfig(grid_size=2), "DataConfig.grid_size: expected two integers >= 1"),
        (lambda: DataConfig(n_neighbours=4), "DataConfig.n_neighbours: no such setting"),
        (lambda: DataConfig(n_subsamples=7), "DataConfig.n_subsamples: no such setting"),
        (
            lambda: ModelConfig(mode="Semisupervised"),
            "ModelConfig.mode: expected one of Unsupervised, Supervised",
        ),
        (
            lambda: ModelConfig(amp_activation="tanh"),
            "ModelConfig.amp_activation: expected one of sigmoid, silu",
        ),
        (lambda: ModelConfig(loss_function="MSE"), "ModelConfig.loss_function: expected one of Poisson, MAE"),
        (lambda: TrainingConfig(epochs=True), "TrainingConfig.epochs: expected an integer >= 1; got True"),
        (lambda: TrainingConfig(nll=1), "TrainingConfig.nll: expected true or false; got 1"),
        (lambda: TrainingConfig(epoch=3), "Did you mean TrainingConfig.epochs?"),
        (lambda: InferenceConfig(patch_weighting="flat"), "expected one of probe, uniform"),
        (lambda: DatagenConfig(objects=1), "DatagenConfig.objects: no such setting"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(build: Callable[[], object], complaint: str):
    assert complaint in message(build)


def test_a_refused_assignment_leaves_the_old_value():
    config = TrainingConfig()
    assert "TrainingConfig.batch_size" in message(lambda: setattr(config, "batch_size", 0))
    assert config.batch_size == 16
    config.batch_size = np.int64(32)
    assert config.batch_size == 32


def test_a_grid_size_from_json_is_a_pair_again():
    assert DataConfig(grid_size=[2, 2]).grid_size == (2, 2)


@pytest.mark.parametrize(
    "mask", [None, True, False, torch.ones(4, 4), np.ones((4, 4)), [[0.0, 1.0], [1.0, 0.0]]]
)
def test_a_probe_mask_is_a_switch_or_a_square_array(mask: object):
    assert ModelConfig(probe_mask=mask).probe_mask is mask


@pytest.mark.parametrize("mask", ["yes", 1, torch.ones(4), np.ones((4, 5)), [], [[1.0], [1.0]], [1.0, 2.0]])
def test_any_other_probe_mask_is_refused(mask: object):
    text = message(lambda: ModelConfig(probe_mask=mask))
    assert text.startswith("ModelConfig.probe_mask: expected true, false, none, or a square array; got ")


def test_paths_may_be_text():
    assert TrainingConfig(output_dir="out").output_dir == Path("out")
