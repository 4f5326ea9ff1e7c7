"""What a person sees, and how a configuration is copied, saved and nested."""

import copy
import html.parser
import json
import pickle
import re
from functools import cached_property
from typing import Any

import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import SettingsConfigDict

import ptycho
from ptycho.config.config import InferenceConfig, PyTorchExecutionConfig
from ptycho.config.errors import VERSION_KEY, ConfigError, Failure
from tests.refusals import meant, message, refused, told

CONFIG = PyTorchExecutionConfig(num_workers=3, learning_rate=0.5, logger_backend="csv")


def test_assignment_and_deletion_raise_and_name_replace():
    for change in (lambda: setattr(CONFIG, "num_workers", 4), lambda: delattr(CONFIG, "num_workers")):
        text = message(change)
        assert told(text) == [("num_workers",)]
        assert "replace(num_workers=...)" in text
    assert CONFIG.num_workers == 3


def test_replace_gives_a_validated_copy():
    changed = CONFIG.replace(num_workers=8)
    assert (changed.num_workers, CONFIG.num_workers) == (8, 3)
    assert [origin.value for origin in changed.sources["num_workers"].shadowed] == [3]
    assert refused(lambda: CONFIG.replace(num_workers=-1)) == [("num_workers", "override")]
    assert refused(lambda: CONFIG.replace(num_worker=1)) == [("num_worker", "override")]


def test_equal_values_make_equal_configurations_with_equal_hashes():
    other = PyTorchExecutionConfig.from_snapshot(CONFIG.to_dict())
    assert other == CONFIG
    assert {other, CONFIG} == {CONFIG}
    assert CONFIG.replace(num_workers=4) != CONFIG
    assert CONFIG.to_dict() != CONFIG


def test_copies_and_pickles_are_equal_and_keep_origins():
    for twin in (
        copy.copy(CONFIG),
        copy.deepcopy(CONFIG),
        CONFIG.model_copy(),
        pickle.loads(pickle.dumps(CONFIG)),
    ):
        assert twin == CONFIG
        assert twin.sources == CONFIG.sources


def test_a_configuration_error_survives_pickling():
    error = ConfigError([Failure("a", "a: wrong."), Failure("a", "a: wrong."), Failure("b", "b: wrong.")])
    twin = pickle.loads(pickle.dumps(error))
    assert twin.failures == error.failures
    assert str(twin) == "a: wrong.\nb: wrong."
    assert isinstance(twin, ValueError)


def test_explain_lists_every_knob_with_origin_and_what_it_beat():
    config = PyTorchExecutionConfig.resolve(
        arguments={"num_workers": 3}, environ={"PTYCHO_EXEC_NUM_WORKERS": "4"}
    )
    lines = config.explain().splitlines()
    (line,) = [line for line in lines if "num_workers" in line]
    assert line.split(maxsplit=4) == [
        "*",
        "num_workers",
        "3",
        "argument",
        "4 (environment variable PTYCHO_EXEC_NUM_WORKERS)",
    ]
    headings = [line for line in lines if line.startswith("[")]
    assert headings == [
        "[hardware]",
        "[data loading]",
        "[optimization]",
        "[checkpoints]",
        "[logging]",
        "[inference]",
    ]
    assert len(lines) == 1 + len(headings) + len(PyTorchExecutionConfig.model_fields)


class Table(html.parser.HTMLParser):
    """Collects the text of every cell, and the tags that are open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.marked: list[str] = []
        self.cells: list[str] = []
        self.is_marked = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.is_marked = "rgba(64,128,255" in (dict(attrs)["style"] or "")
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "td":
            self.cells[-1] += data
            if self.is_marked:
                self.marked.append(data)


def test_the_notebook_table_is_escaped_and_marks_what_is_not_default():
    table = Table(PyTorchExecutionConfig(checkpoint_monitor_metric="<script>&").replace(seed=7)._repr_html_())
    assert not table.open
    assert table.marked == ["* seed", "7", "override", "* checkpoint_monitor_metric", "<script>&", "argument"]
    assert len(table.cells) == 4 * len(PyTorchExecutionConfig.model_fields)


def test_what_steers_a_terminal_is_spelled_out():
    config = InferenceConfig(model_path="\x1b[2J", save="h5")
    for shown in (config.explain(), config._repr_html_(), str(config)):
        assert "\\x1b[2J" in shown
        assert shown.replace("\n", "").isprintable()


def test_the_notebook_table_takes_its_colours_from_the_page():
    colours = set(re.findall(r"(?:color|background):([^;}\"]+)", CONFIG._repr_html_()))
    assert {"inherit", "none"} < colours
    assert all(colour in ("inherit", "none") or colour.startswith("rgba(") for colour in colours)


class Remembering(PyTorchExecutionConfig):
    @cached_property
    def twice(self) -> int:
        return 2 * self.seed


def test_diff_is_of_fields_alone():
    config = Remembering()
    assert config.twice == 84
    assert config.diff(Remembering(seed=1)) == {"seed": (42, 1)}


@pytest.mark.parametrize(
    ("written", "name", "right"),
    [
        ("n_workers", "n_workers", ["num_workers"]),
        ("devices", "n_devices", []),
        ("__dict__", "__dict__", []),
    ],
)
def test_an_assignment_is_refused_by_the_name_that_replace_takes(written: str, name: str, right: list[str]):
    for change in (lambda: setattr(CONFIG, written, 1), lambda: delattr(CONFIG, written)):
        text = message(change)
        assert (told(text), meant(text)) == ([(name,)], right)
        assert ("replace(n_devices=...)" in text) == (written == "devices")


def test_diff_gives_both_values():
    other = CONFIG.replace(seed=7, num_workers=4)
    assert CONFIG.diff(other) == {"seed": (42, 7), "num_workers": (3, 4)}
    assert CONFIG.diff(CONFIG) == {}


def test_dictionaries_and_origins_go_through_json():
    assert PyTorchExecutionConfig(**json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    assert json.loads(json.dumps(CONFIG.sources["num_workers"].to_dict()))["value"] == 3


class AtBeamline(PyTorchExecutionConfig):
    model_config = SettingsConfigDict(env_prefix="beamline_")


@pytest.mark.parametrize(
    ("cls", "prefix"), [(PyTorchExecutionConfig, "PTYCHO_EXEC_"), (AtBeamline, "BEAMLINE_")]
)
def test_an_environment_dump_reads_back_equal(cls: type[PyTorchExecutionConfig], prefix: str):
    config = cls.from_snapshot(CONFIG.to_dict())
    dump = config.to_env()
    assert dump[f"{prefix}NUM_WORKERS"] == "3"
    assert cls.resolve(environ=dump) == config


def test_a_snapshot_keeps_its_writer_and_gives_the_saved_values():
    snapshot = CONFIG.to_snapshot()
    assert snapshot[VERSION_KEY] == ptycho.__version__
    assert PyTorchExecutionConfig.from_snapshot(snapshot) == CONFIG
    assert PyTorchExecutionConfig.from_snapshot(snapshot).sources["seed"].locator == "snapshot"


@pytest.mark.parametrize(
    ("snapshot", "writer"), [({VERSION_KEY: "9.1"}, "ptychopinn 9.1"), ({}, "an unknown version")]
)
def test_a_snapshot_with_an_unknown_knob_names_the_version_that_wrote_it(snapshot: Any, writer: str):
    text = message(lambda: PyTorchExecutionConfig.from_snapshot({**snapshot, "wormhole": 1}))
    assert text.startswith("wormhole: ")
    assert f" {writer};" in text
    assert f" {ptycho.__version__}." in text


@pytest.mark.parametrize("wrong", [3, None, [("seed", 1)], "seed"])
def test_a_snapshot_or_an_object_that_is_no_mapping_is_refused(wrong: Any):
    for load in (PyTorchExecutionConfig.from_snapshot, PyTorchExecutionConfig.model_validate):
        assert refused(lambda load=load: load(wrong)) == [("PyTorchExecutionConfig",)]


def test_model_validate_words_its_errors_as_construction_does():
    wrong = {"num_workers": "3"}
    assert message(lambda: PyTorchExecutionConfig.model_validate(wrong)) == message(
        lambda: PyTorchExecutionConfig(**wrong)
    )
    assert refused(lambda: PyTorchExecutionConfig.model_validate_json("{")) == [("PyTorchExecutionConfig",)]
    assert PyTorchExecutionConfig.model_validate_json('{"seed": 3}').seed == 3
    assert PyTorchExecutionConfig.model_validate(CONFIG) is CONFIG
    assert PyTorchExecutionConfig.model_validate({"seed": 3}, strict=True).seed == 3
    alone = {"persistent_workers": True}
    wrong = refused(lambda: PyTorchExecutionConfig.model_validate(alone, strict=True))
    assert wrong == [("persistent_workers", "argument", "default")]


class Run(BaseModel):
    """A model of someone else that holds our settings."""

    name: str
    execution: PyTorchExecutionConfig


def test_a_field_of_another_model_is_validated_as_part_of_it():
    run = Run.model_validate({"name": "a", "execution": {"num_workers": 2, "persistent_workers": True}})
    assert run.execution.sources["num_workers"].kind == "argument"
    assert Run.model_validate_json(run.model_dump_json()) == run
    with pytest.raises(ValidationError, match=r"persistent_workers: .*\(argument\).*\(default\)"):
        Run.model_validate({"name": "a", "execution": {"persistent_workers": True}})
    with pytest.raises(ValidationError, match=r"execution\.num_workers"):
        Run.model_validate({"name": "a", "execution": {"num_workers": True}})


def test_an_old_name_works_inside_another_model():
    with pytest.warns(DeprecationWarning, match=r"^devices\b.*\bn_devices\.$"):
        run = Run.model_validate({"name": "a", "execution": {"devices": 2}})
    assert run.execution.n_devices == 2
    with (
        pytest.warns(DeprecationWarning, match=r"^devices\b.*\bn_devices\.$"),
        pytest.raises(ValidationError, match="n_devices: given twice"),
    ):
        Run.model_validate({"name": "a", "execution": {"devices": 2, "n_devices": 2}})


def test_a_type_adapter_gives_a_full_configuration():
    config = TypeAdapter(PyTorchExecutionConfig).validate_python({"seed": 3})
    assert config.replace(num_workers=1).sources["seed"].kind == "argument"
    assert TypeAdapter(PyTorchExecutionConfig).json_schema() == PyTorchExecutionConfig.model_json_schema()


def test_a_checkpoint_of_the_dictionary_loads_with_weights_only(tmp_path: Any):
    torch.save({"execution": CONFIG.to_snapshot()}, tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)["execution"]
    assert PyTorchExecutionConfig.from_snapshot(loaded) == CONFIG


def test_settings_of_two_classes_are_never_equal():
    class Other(PyTorchExecutionConfig):
        pass

    config = PyTorchExecutionConfig(seed=1)
    assert config == PyTorchExecutionConfig(seed=1)
    assert config != Other(seed=1)
    assert Other(seed=1) != config
    assert config != config.to_dict()
