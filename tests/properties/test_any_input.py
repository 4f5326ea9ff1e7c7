"""Whatever is given, only the errors of the settings layer come out."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, UnknownVariableWarning
from ptycho.config.execution import OLD_NAMES
from ptycho.config.legacy import load_yaml_config
from ptycho.config.request import Request
from ptycho.config.solver import SolverConfig
from ptycho_torch.cli.console import Refusal
from ptycho_torch.cli.main import build_parser
from ptycho_torch.cli.options import CommandLine
from tests.properties.fields import FIELDS, KNOBS
from tests.properties.written import FORMATS, examples

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", f"ignore::{UnknownVariableWarning.__module__}.UnknownVariableWarning"
)
TABLES = ("model", "training", "inference", "solver", "execution")
SECTIONS = [ModelConfig, TrainingConfig, PyTorchExecutionConfig]
PARSER = build_parser()

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
names = st.sampled_from([*KNOBS, *FIELDS, *OLD_NAMES, "n_images", "model"]) | st.text()
mapping = st.dictionaries(names, anything, max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
document = st.dictionaries(st.sampled_from(TABLES) | names, st.dictionaries(names, plain, max_size=4) | plain)
statement = st.from_regex(
    r"(?:(?:seed|N|num_workers|\[execution\]|-|\{|\"|:|=|&a|\*a|!!int|!!bool| |\n|[0-9]){1,12}\n?){1,4}"
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read_every_way(path: Path) -> None:
    for read in (
        PyTorchExecutionConfig.from_file,
        TrainingConfig.from_file,
        InferenceConfig.from_file,
        SolverConfig.from_file,
        load_yaml_config,
        lambda file: Request(SECTIONS, file=file).answer(),
    ):
        said = ""
        try:
            read(path)
        except ConfigError as error:
            said = str(error)
        assert all(line.isprintable() for line in said.split("\n"))


@given(mapping, mapping, mapping, st.dictionaries(names, st.text(), max_size=4))
def test_values_raise_nothing_else(
    overrides: dict[str, Any], flags: dict[str, Any], arguments: dict[str, Any], variables: dict[str, str]
):
    environ = {f"PTYCHO_EXEC_{name.upper()}": value for name, value in variables.items()}
    for load in (
        lambda: PyTorchExecutionConfig.resolve(
            overrides=overrides, flags=flags, arguments=arguments, environ=environ
        ),
        lambda: PyTorchExecutionConfig.from_snapshot(arguments),
        lambda: PyTorchExecutionConfig.model_validate(arguments),
    ):
        with suppress(ConfigError):
            config = load()
            assert "\n" not in repr(config)
            json.dumps([origin.to_dict() for origin in config.sources.values()])


@given(mapping, mapping, mapping)
def test_canonical_values_raise_nothing_else(
    overrides: dict[str, Any], flags: dict[str, Any], cli_defaults: dict[str, Any]
):
    for cls in (ModelConfig, TrainingConfig, InferenceConfig, SolverConfig):
        with suppress(ConfigError):
            cls(**overrides)
    with suppress(ConfigError):
        answer = Request(SECTIONS, overrides=overrides, flags=flags, cli_defaults=cli_defaults).answer()
        json.dumps([origin.to_dict() for origin in answer.sources.values()])


@examples(0.5)
@example(content=b"\t", suffix="yaml")
@given(content=st.binary(), suffix=st.sampled_from(FORMATS))
def test_bytes_raise_nothing_else(folder: Path, content: bytes, suffix: str):
    path = folder / f"bytes.{suffix}"
    path.write_bytes(content)
    read_every_way(path)


@given(st.text() | statement, st.sampled_from(FORMATS))
def test_texts_raise_nothing_else(folder: Path, content: str, suffix: str):
    path = folder / f"text.{suffix}"
    path.write_text(content, encoding="utf-8", errors="surrogatepass", newline="")
    read_every_way(path)


@given(document, st.sampled_from(["json", "yaml"]))
def test_documents_raise_nothing_else(folder: Path, content: dict[str, Any], suffix: str):
    path = folder / f"document.{suffix}"
    path.write_text(json.dumps(content), encoding="utf-8")
    read_every_way(path)


@given(st.lists(names.map("--{}".format) | names.map("--{}=1".format) | st.text(), max_size=4))
def test_command_lines_end_in_values_or_in_one_message(words: list[str]):
    line, code = None, None
    try:
        line = CommandLine.of(PARSER.parse_args(["train", *words]))
    except SystemExit as ending:
        code = ending.code
    assert code in (None, 0, 2)
    if line is not None:
        assert all(isinstance(text, str) for text in line.flags.values())
        with suppress(ConfigError, Refusal):
            line.request(*SECTIONS).answer()
