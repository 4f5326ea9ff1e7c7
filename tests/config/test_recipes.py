"""Recipes: run files whose values stand between what anybody states and the defaults."""

from pathlib import Path
from typing import Any

import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.recipes import read_recipe, recipe_names
from ptycho.config.request import Request
from tests.refusals import message, refused, told

TRAINING = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
RECONSTRUCTION = (ModelConfig, InferenceConfig, PyTorchExecutionConfig)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("classes", [TRAINING, RECONSTRUCTION])
def test_every_recipe_of_the_package_is_sound(name: str, classes: tuple[type, ...]):
    answer = Request(classes, recipe=name).answer()
    stated = {key for key, origin in answer.sources.items() if origin.kind == "recipe"}
    assert stated
    assert {str(answer.sources[key]) for key in stated} == {f"recipe {name}"}


def test_the_recipe_of_the_demo_is_the_standard_one_but_for_its_length():
    def values(name: str) -> dict[str, Any]:
        (file,) = read_recipe(name)
        return {
            f"{table}.{key}": value for table, part in file.content.items() for key, value in part.items()
        }

    assert values("demo") == values("standard") | {"training.nepochs": 3}


def test_a_recipe_is_below_a_file_and_above_the_defaults():
    Path("mine.toml").write_text("[training]\nnepochs = 30\n")
    answer = Request(TRAINING, file="mine.toml", recipe="standard").answer()
    origin = answer.sources["training.nepochs"]
    assert (origin.value, str(origin), [str(beaten) for beaten in origin.shadowed]) == (
        30,
        "mine.toml:2",
        ["recipe standard"],
    )
    assert answer[TrainingConfig].batch_size == 4
    for nothing in (None, "none"):
        assert Request(TRAINING, recipe=nothing).answer()[TrainingConfig] == TrainingConfig()


def test_a_reconstruction_leaves_the_model_to_the_trained_one():
    answer = Request(RECONSTRUCTION, recipe="standard").answer()
    assert answer[ModelConfig] == ModelConfig()
    assert answer[PyTorchExecutionConfig].inference_batch_size == 64


def test_any_run_file_may_be_a_recipe_and_its_mistakes_have_lines():
    Path("fast.yaml").write_text("training:\n  nepochs: 2\nexecution:\n  precision: bf16-mixed\n")
    answer = Request(TRAINING, recipe="fast.yaml").answer()
    assert str(answer.sources["training.nepochs"]) == "recipe fast.yaml:2"
    assert answer[PyTorchExecutionConfig].precision == "bf16-mixed"
    Path("fast.yaml").write_text("training:\n  nepochs: 0\n")
    text = message(lambda: Request(TRAINING, recipe="fast.yaml", flags={"nepochs": "3"}).answer())
    assert told(text) == [("training.nepochs", "recipe fast.yaml:2")]
    assert text.endswith("\n    nepochs: 0")


@pytest.mark.parametrize(
    ("recipe", "name", "ways"),
    [
        ("standrad", "recipe", "Did you mean standard?"),
        ("quick", "recipe", "best, demo, fast, standard."),
        ("absent.toml", "absent.toml", ""),
        ("./standard", "./standard", ""),
        ("", "recipe", "best, demo, fast, standard."),
        (3, "recipe", ""),
    ],
)
def test_a_recipe_that_there_is_not_is_refused(recipe: Any, name: str, ways: str):
    for load in (
        lambda: Request(TRAINING, recipe=recipe).answer(),
        lambda: PyTorchExecutionConfig.resolve(recipe=recipe),
    ):
        text = message(load)
        assert [culprit for culprit, *_ in told(text)] == [name] * len(text.splitlines())
        assert text.endswith(ways)


# What was stated stays, and the recipe gives way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "name", "value", "origin"),
    [
        ({"nepochs": "1"}, "lr_warmup_epochs", 0, "recipe standard for nepochs 1"),
        ({"scheduler": "Adaptive"}, "lr_warmup_epochs", 0, "recipe standard for scheduler Adaptive"),
        ({"gridsize": "4"}, "neighbor_count", 15, "recipe standard for gridsize 4"),
        ({"gridsize": "3"}, "neighbor_count", 8, "recipe standard"),
    ],
)
def test_a_value_that_does_not_go_with_a_stated_one_gives_way(
    flags: dict[str, str], name: str, value: object, origin: str
):
    answer = Request(TRAINING, flags=flags, recipe="standard").answer()
    found = answer.sources[f"training.{name}"]
    assert (found.value, str(found), getattr(answer[TrainingConfig], name)) == (value, origin, value)
    assert [str(beaten) for beaten in found.shadowed] == ["recipe standard"] * (origin != "recipe standard")


def test_it_gives_way_within_one_section_as_well():
    Path("loading.toml").write_text("num_workers = 4\nprefetch_factor = 8\npersistent_workers = true\n")
    config = PyTorchExecutionConfig.resolve(arguments={"num_workers": 0}, recipe="loading.toml")
    assert (config.prefetch_factor, config.persistent_workers) == (None, False)
    assert str(config.sources["prefetch_factor"]) == "recipe loading.toml:2 for num_workers 0"
    answer = Request(TRAINING, flags={"num_workers": "0"}, recipe="loading.toml").answer()
    assert answer[PyTorchExecutionConfig].prefetch_factor is None
    assert PyTorchExecutionConfig.resolve(recipe="loading.toml").prefetch_factor == 8


def test_a_stated_value_does_not_give_way_to_the_recipe():
    wrong = refused(lambda: Request(TRAINING, flags={"lr_warmup_epochs": "8"}, recipe="standard").answer())
    assert wrong == [("training.lr_warmup_epochs", "flag --lr-warmup-epochs", "recipe standard")]


def test_a_value_gives_way_once_where_two_others_contradict_it():
    Path("own.toml").write_text("[training]\nlr_warmup_epochs = 4\n")
    answer = Request(TRAINING, flags={"scheduler": "Adaptive", "nepochs": "3"}, recipe="own.toml").answer()
    assert answer[TrainingConfig].lr_warmup_epochs == 0


def test_each_contradiction_of_one_value_is_told():
    flags = {"lr_warmup_epochs": "4", "scheduler": "Adaptive", "nepochs": "3"}
    assert refused(lambda: Request(TRAINING, flags=flags).answer()) == [
        ("training.lr_warmup_epochs", "flag --lr-warmup-epochs", "flag --scheduler"),
        ("training.lr_warmup_epochs", "flag --lr-warmup-epochs", "flag --nepochs"),
    ]


def test_a_recipe_that_contradicts_itself_is_refused():
    Path("own.toml").write_text("[training]\nnepochs = 2\nlr_warmup_epochs = 2\n")
    wrong = refused(lambda: Request(TRAINING, recipe="own.toml").answer())
    assert wrong == [("training.lr_warmup_epochs", "recipe own.toml:3", "recipe own.toml:2")]


def test_a_recipe_stands_below_settings_that_were_resolved_without_one():
    ready = PyTorchExecutionConfig(num_workers=0, scheduler="Default")
    answer = Request(TRAINING, recipe="standard").answer({PyTorchExecutionConfig: ready})
    found, whole = answer[PyTorchExecutionConfig], PyTorchExecutionConfig.resolve(recipe="standard")
    assert found == whole.replace(num_workers=0, scheduler="Default")
    assert str(found.sources["learning_rate"]) == "recipe standard"
    assert [str(one) for one in found.sources["scheduler"].shadowed] == ["recipe standard"]
    answer = Request(TRAINING, recipe="standard").answer({PyTorchExecutionConfig: whole})
    assert answer[PyTorchExecutionConfig] is whole


def test_a_recipe_beats_what_a_command_states_in_settings_that_were_resolved():
    Path("own.toml").write_text("[execution]\nseed = 2\n")
    ready = PyTorchExecutionConfig.resolve(cli_defaults={"seed": 3})
    answer = Request(TRAINING, recipe="own.toml").answer({PyTorchExecutionConfig: ready})
    assert answer[PyTorchExecutionConfig].seed == 2


# Doors -----------------------------------------------------------------------------------------------------------


def test_python_takes_no_recipe_unasked():
    assert PyTorchExecutionConfig().learning_rate == 1e-3
    assert PyTorchExecutionConfig.resolve().learning_rate == 1e-3
    config = PyTorchExecutionConfig.resolve(recipe="standard")
    assert (config.learning_rate, str(config.sources["learning_rate"])) == (2e-3, "recipe standard")
