"""The canonical configurations: what they accept, refuse and keep."""

import copy
import dataclasses
import inspect
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.config.canonical import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
    validate_inference_config,
    validate_model_config,
    validate_training_config,
)
from ptycho.config.data import DataConfig
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from tests.refusals import meant, message, refused

CLASSES = [ModelConfig, TrainingConfig, InferenceConfig, SolverConfig, DataConfig]


# Values ---------------------------------------------------------------------------------------------------


@given(st.integers(-64, 4096))
def test_n_is_zero_or_a_multiple_of_16_from_32(n: int):
    if n == 0 or n in range(32, 4097, 16):
        assert n == ModelConfig(N=n).N
    else:
        assert refused(lambda: ModelConfig(N=n)) == [("model.N", "argument")]


ONE_UP = [1, 7], [0, -1, True, "3", 2.0, None]
ONE_UP_OR_NONE = [None, 1, 7], [0, -1, True, "3", 2.0]
ZERO_UP = [0, 9], [-1, True, "3", 2.0, None]
WEIGHT = [0, 0.5, 3, np.float32(2)], [-0.1, math.nan, math.inf, True, "1", None]
ABOVE_ZERO = [1e-9, 4, np.float64(2)], [0, -1.0, math.nan, math.inf, True, "1", None, np.array(True)]
DECAY = [0, 0.9], [1, 1.5, -0.1, math.nan, True]
SWITCH = [True, False, np.True_], [1, 0, "yes", None]
PATH_OR_NONE = ["a.npz", Path("a.npz"), Path(), None], [3, True, "", " \t"]
SAVED = {
    "save": (["none", "h5", "CXI", "tiff", "all"], ["png", None, True]),
    "unwrap_phase": SWITCH,
    "remove_ramp": SWITCH,
}
DOMAIN = ["auto", "amplitude", "intensity"], ["counts", None, 1]
SHARED = {
    "n_groups": ONE_UP_OR_NONE,
    "n_subsample": ONE_UP_OR_NONE,
    "subsample_seed": ([None, 0, 2**32 - 1], [-1, 2**32, True, "3", 2.0]),
    "neighbor_count": ONE_UP,
    "test_data_file": PATH_OR_NONE,
    "start": PATH_OR_NONE,
    "output_dir": (["out", Path("out"), Path()], [None, 3, "", "  "]),
    "backend": (["pytorch", "tensorflow"], ["jax", None]),
    "measurement_domain": DOMAIN,
    "data": ([DataConfig(crop=64)], [None, 3, "cxi"]),
}
NAME = [None, "/entry/data[0]", "key"], ["", " ", 3, True]
LENGTH = [None, "1.2 m", "75um", "3e-3mm"], ["1.2", "0 m", "-1 m", "1 kg", "1 m, 2 m, 3 m", 1.2, True]
EVEN = [None, 2, 64, np.int64(128)], [0, 1, 63, 65538, True, "64", 64.0]
RULES: dict[type, dict[str, tuple[list[Any], list[Any]]]] = {
    ModelConfig: {
        "N": ([0, 32, 64, np.int64(128)], [16, 33, 65, -32, True, "64", 64.0, None]),
        "gridsize": ONE_UP,
        "n_filters_scale": ONE_UP,
        "model_type": (["pinn", "supervised"], ["unet", None, True]),
        "architecture": (["unrolled", "cnn"], ["fno", None]),
        "n_unrolled_steps": ONE_UP,
        "n_physics_steps": ONE_UP,
        "amp_activation": (["sigmoid", "swish", "silu", "softplus", "relu"], ["tanh", None]),
        "object_big": SWITCH,
        "probe_big": SWITCH,
        "pad_object": SWITCH,
        "probe_mask": SWITCH,
        "probe_mask_sigma": WEIGHT,
        "probe_mask_diameter": ([None, 32, 20.5], [0, -1.0, math.nan, True, "32"]),
        "probe_scale": ABOVE_ZERO,
        "gaussian_smoothing_sigma": WEIGHT,
    },
    TrainingConfig: SHARED
    | {
        "model": ([ModelConfig(N=128)], [None, 3, "pinn"]),
        "train_data_file": PATH_OR_NONE,
        "batch_size": ONE_UP,
        "nepochs": ONE_UP,
        "mae_weight": WEIGHT,
        "nll_weight": WEIGHT,
        "realspace_mae_weight": WEIGHT,
        "realspace_weight": WEIGHT,
        "nphotons": ABOVE_ZERO,
        "neighbor_pool_size": ONE_UP_OR_NONE,
        "enable_oversampling": SWITCH,
        "sequential_sampling": SWITCH,
        "positions_provided": ([True], [False, 1, None]),
        "probe_trainable": SWITCH,
        "intensity_scale_trainable": SWITCH,
        "torch_loss_mode": (["poisson", "mae"], ["mse", None]),
        "optimizer": (["adam", "adamw", "sgd"], ["lion", None]),
        "momentum": DECAY,
        "weight_decay": WEIGHT,
        "adam_beta1": DECAY,
        "adam_beta2": DECAY,
        "lr_warmup_epochs": ZERO_UP,
        "lr_min_ratio": ([0, 0.1, 1], [1.01, -0.1, math.nan, True]),
        "plateau_factor": ([0.5], [0, 1, -0.1, math.nan, True]),
        "plateau_patience": ZERO_UP,
        "plateau_min_lr": WEIGHT,
        "plateau_threshold": WEIGHT,
    },
    InferenceConfig: SHARED
    | {
        "model": ([ModelConfig(N=128)], [None, 3]),
        "model_path": PATH_OR_NONE,
        "debug": SWITCH,
    }
    | SAVED,
    SolverConfig: {
        "data": SHARED["data"],
        "data_file": PATH_OR_NONE,
        "output_dir": SHARED["output_dir"],
        "measurement_domain": DOMAIN,
        "n_iterations": (["auto", 1, 7], [0, -1, True, "3", 2.0, None, "all"]),
        "loss": (["auto", "amplitude", "Poisson"], ["mae", None, True]),
        "probe_modes": ([None, 1, 16], [0, 17, True, "3", 2.0]),
        "refine_probe": ([True, False, "auto"], [1, 0, "yes", None]),
        "refine_positions": SWITCH,
        "positions_from": ONE_UP,
        "refine_intensities": SWITCH,
        "prior": (["auto", "none", "TV"], ["l1", None, True]),
        "prior_weight": (["auto", 1e-9, 4], [0, -1.0, math.nan, math.inf, True, "1", None]),
        "start": PATH_OR_NONE,
        "holdout": ([0, 0.05, 0.99], [1, -0.1, math.nan, True, None]),
        **SAVED,
    },
    DataConfig: {
        "format": (["auto", "npz", "CXI", "ptychodus", "ptypy", "ptylab", "emd", "hdf5"], ["tiff", None, 1]),
        "patterns": NAME,
        "axes": ([None, "nHW", "HWn", "yxHW", "WHxy"], ["HW", "nHWW", "nhw", "yxnHW", 3]),
        "positions": NAME,
        "positions_axes": ([None, "yx", "xy"], ["x", 1]),
        "positions_x": NAME,
        "positions_y": NAME,
        "positions_unit": ([None, "m", "cm", "um", "A", "px"], ["inch", 1]),
        "scan_step": ([None, "4 px", "30 nm", "30nm, 40 nm"], ["4", "0 px", "4 px, 4 px, 4 px", 4]),
        "orientation": (["identity", "flip-x", "Rotate-90", "anti-transpose", "auto"], ["flip", None, 90]),
        "probe": (["auto", "file", "estimate", "optics", "/a/b"], ["", None, 1]),
        "convergence": ([None, "21.4 mrad", "0.02 rad"], ["21.4", "0 mrad", "1 deg", 0.02]),
        "aperture": LENGTH,
        "defocus": ([None, "-1.5 um", "0 m"], ["1.5", "1 rad", 1.5]),
        "energy": ([None, "8 keV", "8000eV", "1.3e-15 J"], ["8", "-8 keV", "0 eV", "8 MeV", 8.0, True]),
        "particle": ([None, "photon", "Electron"], ["neutron", 1]),
        "wavelength": LENGTH,
        "distance": LENGTH,
        "detector_pixel": LENGTH,
        "object_pixel": LENGTH,
        "crop": EVEN,
        "bin": ONE_UP,
        "pad": EVEN,
        "centre": (["none", "auto", "corner", "256.5, 243"], ["", "3", "-1, 3", "1, 2, 3", None, 3]),
        "mask": ([None, "auto", "/entry/mask[0]"], NAME[1]),
        "mask_marks": ([None, "bad", "Good"], ["ok", True]),
        "mask_file": PATH_OR_NONE,
        "dead_value": ([None, -1, 65535.0], [math.nan, math.inf, True, "1"]),
        "saturation": ([None, 1e5, 3], [0, -1.0, math.nan, True, "1"]),
    },
}
SECTIONS = {
    ModelConfig: "model",
    TrainingConfig: "training",
    InferenceConfig: "inference",
    SolverConfig: "solver",
    DataConfig: "data",
}
EACH_FIELD = [
    pytest.param(cls, field, id=f"{SECTIONS[cls]}.{field}") for cls in CLASSES for field in RULES[cls]
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_its_rule_here(cls: type):
    assert {field.name for field in dataclasses.fields(cls)} == RULES[cls].keys()


@pytest.mark.parametrize(("cls", "field"), EACH_FIELD)
def test_a_field_accepts_what_its_rule_allows(cls: type, field: str):
    for value in RULES[cls][field][0]:
        expected = (
            Path(value) if isinstance(value, str) and "dir" in field + "_file" * ("." in value) else value
        )
        word = value.lower() if isinstance(value, str) else value
        assert getattr(cls(**{field: value}), field) in (value, word, expected, Path(str(value)))


@pytest.mark.parametrize(("cls", "field"), EACH_FIELD)
def test_a_field_refuses_what_breaks_its_rule(cls: type, field: str):
    for value in RULES[cls][field][1]:
        text = message(lambda value=value: cls(**{field: value}))
        assert text.startswith(f"{SECTIONS[cls]}.{field}: expected ")
        assert "from argument." in text


@pytest.mark.parametrize(("cls", "field"), EACH_FIELD)
def test_a_refused_assignment_leaves_the_old_value(cls: type, field: str):
    config = cls()
    for value in RULES[cls][field][1]:
        before = copy.deepcopy(config)
        text = message(lambda value=value: setattr(config, field, value))
        assert text.startswith(f"{SECTIONS[cls]}.{field}: expected ")
        assert config == before


def test_stored_values_are_plain_python():
    config = ModelConfig(N=np.int32(64), probe_scale=np.float32(2.5), probe_mask=np.True_, probe_mask_sigma=2)
    kinds = [type(v) for v in (config.N, config.probe_scale, config.probe_mask, config.probe_mask_sigma)]
    assert kinds == [int, float, bool, float]


def test_paths_are_kept_as_paths():
    config = TrainingConfig(train_data_file="a.npz", output_dir="out")
    assert (config.train_data_file, config.output_dir) == (Path("a.npz"), Path("out"))


def test_every_failure_is_reported_at_once():
    wrong = refused(lambda: TrainingConfig(model={"N": 65, "gridsize": 0}, batch_size=0, backend="jax"))
    names = ("model.N", "model.gridsize", "training.batch_size", "training.backend")
    assert wrong == [(name, "argument") for name in names]


@pytest.mark.parametrize(
    ("build", "written", "right"),
    [
        (lambda: ModelConfig(gridsiz=2), "model.gridsiz", "model.gridsize"),
        (lambda: TrainingConfig(N=64), "training.N", "model.N"),
        (lambda: setattr(TrainingConfig(), "batchsize", 2), "training.batchsize", "training.batch_size"),
    ],
)
def test_an_unknown_name_is_refused_with_the_near_one(build: Callable[[], object], written: str, right: str):
    assert refused(build) == [(written,)]
    assert meant(message(build)) == [right]


def test_too_many_values_are_refused_by_the_class_name():
    assert refused(lambda: InferenceConfig(*[None] * 30)) == [("InferenceConfig",)]


def test_a_scan_without_positions_is_refused_with_the_reason():
    text = message(lambda: TrainingConfig(positions_provided=False))
    assert text.startswith("training.positions_provided: ")
    assert "Only scans with positions" in text


# Dataclass behaviour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
def test_a_configuration_survives_asdict_replace_pickle_and_copy(cls: type):
    config = cls()
    assert cls(**dataclasses.asdict(config)) == config
    assert dataclasses.replace(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


def test_replace_validates():
    assert "training.nepochs" in message(lambda: dataclasses.replace(TrainingConfig(), nepochs=0))


@pytest.mark.parametrize("before", [None, 5])
def test_replace_takes_an_old_name(before: int | None):
    config = TrainingConfig(n_groups=before, nepochs=3)
    with pytest.warns(DeprecationWarning, match=r"^n_images\b.*\bn_groups\.$") as caught:
        changed = dataclasses.replace(config, n_images=7)
    assert changed == TrainingConfig(n_groups=7, nepochs=3)
    assert caught[0].filename == __file__


def test_a_nested_model_is_the_object_given_and_stays_validated():
    model = ModelConfig()
    config = TrainingConfig(model=model)
    config.model.N = 128
    assert model.N == 128
    assert "model.N" in message(lambda: setattr(config.model, "N", 100))
    assert model.N == 128


def test_two_configurations_do_not_share_a_default_model():
    first, second = TrainingConfig(), TrainingConfig()
    first.model.N = 128
    assert second.model.N == 64


def test_an_unpickled_configuration_still_validates():
    config = pickle.loads(pickle.dumps(TrainingConfig()))
    assert "training.batch_size" in message(lambda: setattr(config, "batch_size", 0))


@pytest.mark.parametrize("cls", [TrainingConfig, InferenceConfig])
def test_n_images_is_the_old_name_of_n_groups(cls: type):
    with pytest.warns(DeprecationWarning, match=r"^n_images\b.*\bn_groups\.$"):
        config = cls(n_images=7)
    assert config.n_groups == 7
    with pytest.warns(DeprecationWarning, match="use n_groups"):
        config.n_images = 8
    with pytest.warns(DeprecationWarning, match="use n_groups"):
        assert config.n_images == config.n_groups == 8


def test_a_value_under_both_its_names_is_refused():
    with pytest.warns(DeprecationWarning, match="use n_groups"):
        text = message(lambda: TrainingConfig(n_images=7, n_groups=7))
    assert text.startswith("training.n_groups: given twice, as n_images and as n_groups.")


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_a_help_text(cls: type):
    texts = section_of(cls).help
    assert list(texts) == [field.name for field in dataclasses.fields(cls)]
    assert all(text.endswith(".") and "\n" not in text for text in texts.values())


def test_the_historical_defaults_hold():
    config = TrainingConfig()
    assert (config.model.N, config.model.gridsize, config.model.probe_scale) == (64, 1, 4.0)
    assert (config.batch_size, config.nepochs, config.nphotons, config.neighbor_count) == (16, 50, 1e9, 4)
    assert (config.optimizer, config.torch_loss_mode, config.plateau_min_lr) == ("adam", "poisson", 5e-5)
    assert (config.output_dir, InferenceConfig().output_dir) == (
        Path("training_outputs"),
        Path("inference_outputs"),
    )


class AtBeamline(TrainingConfig):
    """A training with a setting of a beamline, which has no default."""

    beamline: str
    hutch: int = 1


def test_a_field_of_a_subclass_without_a_default_has_to_be_set(tmp_path: Path):
    assert refused(lambda: AtBeamline(nepochs=0)) == [
        ("training.nepochs", "argument"),
        ("training.beamline",),
    ]
    config = AtBeamline(beamline="P06", nepochs=3)
    for again in (dataclasses.replace(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
    assert config.replace(nepochs=4).beamline == "P06"
    (tmp_path / "run.toml").write_text(config.to_toml())
    assert AtBeamline.from_file(tmp_path / "run.toml") == config
    assert inspect.signature(AtBeamline).parameters["beamline"].default is inspect.Parameter.empty
    assert "beamline" in config.explain()


def test_positions_in_the_signature_follow_the_fields():
    assert list(inspect.signature(InferenceConfig).parameters)[:3] == [
        "model",
        "model_path",
        "test_data_file",
    ]


# Ready for a run ------------------------------------------------------------------------------------------


def test_complete_configurations_are_ready():
    validate_model_config(ModelConfig())
    validate_training_config(TrainingConfig(train_data_file="a.npz"))
    validate_inference_config(InferenceConfig(model_path="m", test_data_file="a.npz"))


def test_a_model_of_unknown_size_is_not_ready():
    assert refused(lambda: validate_model_config(ModelConfig(N=0))) == [("model.N",)]


def test_a_training_reports_all_that_is_missing():
    config = TrainingConfig(model=ModelConfig(N=0), nll_weight=0)
    assert refused(lambda: validate_training_config(config)) == [
        ("model.N",),
        ("training.train_data_file",),
        ("training.nll_weight", "argument", "default"),
    ]


def test_the_mae_loss_needs_no_weight():
    validate_training_config(TrainingConfig(train_data_file="a.npz", nll_weight=0, torch_loss_mode="mae"))


def test_a_training_needs_positions_for_a_group_and_a_reconstruction_does_not():
    few: dict[str, Any] = {"model": ModelConfig(gridsize=2), "n_subsample": 2, "test_data_file": "a.npz"}
    validate_inference_config(InferenceConfig(**few, model_path="m"))
    wrong = refused(lambda: validate_training_config(TrainingConfig(**few, train_data_file="a.npz")))
    assert [name for name, *_ in wrong] == ["training.n_subsample"]


def test_an_inference_needs_a_model_and_data():
    wrong = refused(lambda: validate_inference_config(InferenceConfig()))
    assert wrong == [("inference.model_path",), ("inference.test_data_file",)]


def test_advice_is_for_a_value_of_the_right_kind():
    assert "[data]" in message(lambda: ModelConfig(N=33))
    assert "[data]" not in message(lambda: ModelConfig(N="x"))  # pyright: ignore[reportArgumentType]


def test_a_value_in_place_of_a_section_is_shown():
    assert "got 3 from argument" in message(lambda: TrainingConfig(model=3))  # pyright: ignore[reportArgumentType]


def test_a_field_cannot_be_deleted():
    config = TrainingConfig()
    assert refused(lambda: delattr(config, "nepochs")) == [("training.nepochs",)]
    assert config.nepochs == 50


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"])
def test_a_path_is_one_that_the_system_can_take(path: str):
    assert refused(lambda: TrainingConfig(output_dir=path)) == [("training.output_dir", "argument")]
    assert TrainingConfig(output_dir="a\udcffb").output_dir == Path("a\udcffb")  # of bytes that are no text
