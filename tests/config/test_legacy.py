"""CONFIG-001 and CONFIG-002: what enters the legacy dictionary, and what never does."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho import params
from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.legacy import KEY_MAPPINGS, dataclass_to_legacy_dict, update_legacy_dict


def test_the_mapped_keys_are_the_historical_ones():
    assert KEY_MAPPINGS == {
        "object_big": "object.big",
        "probe_big": "probe.big",
        "probe_mask": "probe.mask",
        "probe_trainable": "probe.trainable",
        "intensity_scale_trainable": "intensity_scale.trainable",
        "positions_provided": "positions.provided",
        "output_dir": "output_prefix",
        "train_data_file": "train_data_file_path",
        "test_data_file": "test_data_file_path",
    }


@pytest.mark.parametrize("config", [ModelConfig(), TrainingConfig(), InferenceConfig()])
def test_every_field_arrives_under_exactly_one_key(config: ModelConfig | TrainingConfig | InferenceConfig):
    names = [f.name for f in dataclasses.fields(config) if f.name not in ("model", "data")]
    names += [f.name for f in dataclasses.fields(ModelConfig)] if hasattr(config, "model") else []
    assert sorted(dataclass_to_legacy_dict(config)) == sorted(KEY_MAPPINGS.get(name, name) for name in names)


def test_a_nested_model_is_flattened_and_paths_become_text():
    cfg: dict[str, object] = {}
    update_legacy_dict(
        cfg, TrainingConfig(model=ModelConfig(N=128, object_big=False), train_data_file=Path("a.npz"))
    )
    assert (cfg["N"], cfg["object.big"]) == (128, False)
    assert (cfg["train_data_file_path"], cfg["output_prefix"]) == ("a.npz", "training_outputs")
    assert "model" not in cfg


def test_none_leaves_the_old_value():
    cfg: dict[str, object] = {"n_groups": 512, "test_data_file_path": "old.npz", "mine": 1}
    update_legacy_dict(cfg, TrainingConfig())
    assert (cfg["n_groups"], cfg["test_data_file_path"], cfg["mine"]) == (512, "old.npz", 1)


def test_the_bridge_goes_one_way():
    config = TrainingConfig()
    cfg: dict[str, object] = {}
    update_legacy_dict(cfg, config)
    cfg["batch_size"] = 1
    assert config.batch_size == 16


@pytest.mark.parametrize("config", [{"N": 64}, ModelConfig, None])
def test_anything_but_a_canonical_configuration_is_refused(config: object):
    cfg: dict[str, object] = {}
    with pytest.raises(TypeError, match="TrainingConfig or InferenceConfig"):
        update_legacy_dict(cfg, config)
    assert cfg == {}


@given(
    st.sampled_from([32, 64, 128]), st.integers(1, 5), st.floats(1, 1e12), st.none() | st.integers(1, 10**6)
)
def test_what_is_set_is_what_the_dictionary_holds(
    n: int, gridsize: int, nphotons: float, n_groups: int | None
):
    cfg: dict[str, object] = {}
    model = ModelConfig(N=n, gridsize=gridsize)
    update_legacy_dict(cfg, TrainingConfig(model=model, nphotons=nphotons, n_groups=n_groups))
    assert (cfg["N"], cfg["gridsize"], cfg["nphotons"], cfg.get("n_groups")) == (
        n,
        gridsize,
        nphotons,
        n_groups,
    )
    assert params.cfg == {}


@given(st.integers(0, 8), st.floats(1e-6, 1), st.sampled_from(["cpu", "auto"]), st.booleans())
def test_no_execution_configuration_ever_reaches_the_dictionary(
    num_workers: int, learning_rate: float, accelerator: str, deterministic: bool
):
    knobs = {"num_workers": num_workers, "learning_rate": learning_rate, "accelerator": accelerator}
    config = PyTorchExecutionConfig(**knobs).replace(deterministic=deterministic)
    derived = [
        config,
        config.with_overrides({"learning_rate": 0.5}),
        PyTorchExecutionConfig.resolve(arguments=knobs),
        PyTorchExecutionConfig.from_snapshot(config.to_dict()),
    ]
    for one in derived:
        for write in (dataclass_to_legacy_dict, lambda config: update_legacy_dict(params.cfg, config)):
            with pytest.raises(TypeError, match="CONFIG-002"):
                write(one)
    assert params.cfg == {}
