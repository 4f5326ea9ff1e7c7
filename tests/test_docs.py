"""The documents say what the code does: tables, links, examples, command lines and run files."""

import ast
import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import PRECEDENCE
from ptycho.npz_files import NPZ_KEYS
from ptycho_torch.cli.main import build_parser

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
"""Formulas and figures made of characters."""
CODE_PATH = re.compile(
    r"`((?:ptycho|ptycho_torch|tests|docs|specs|benchmarks|examples)/[\w/.-]+|[\w-]+\.(?:py|md|ipynb))"
)
DOTTED = re.compile(r"`((?:ptycho|ptycho_torch|benchmarks)(?:\.\w+)+)\b(?!/)")
PLACED = re.compile(
    r"`(?P<name>[\w.]+)` (?:of|in)\s`(?P<file>(?:ptycho|ptycho_torch|tests|benchmarks)/[\w/]+\.py)`"
    r"|`(?P<home>(?:ptycho|ptycho_torch|tests|benchmarks)/[\w/]+\.py)` (?:has|holds) [^`.;:]{,20}`(?P<held>[\w.]+)`"
)
"""A name, and the file of the code that it is said to be in."""
ENTRY_POINTS = {"ptycho.backends"}
BESIDE = (
    "",
    "ptycho",
    "ptycho/config",
    "ptycho_torch",
    "ptycho_torch/cli",
    "ptycho_torch/runs",
    "docs",
    "tests",
)
"""Where a file may be that is named without its folder."""
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SESSION = re.compile(r"^```console\n.*?^```$", re.MULTILINE | re.DOTALL)
"""What is typed and shown, mistakes too; `tests/test_readme.py` runs it."""
VARIABLE = re.compile(r"PTYCHO_EXEC_([A-Z][A-Z_]*)")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = _load(ROOT / "docs" / "generate_tables.py")
DOCUMENTS = sorted([*tables.documents(), *ROOT.glob("*.md")])
SECTIONS = tuple(tables.CONSUMERS)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced(path: Path, language: str, before: str = "") -> list[str]:
    """The fenced blocks of a language in a document, those with a line before them where one is asked for."""
    return re.findall(rf"{before}^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


RUNNABLE = [path for path in tables.documents() if fenced(path, "python", "<!-- runs -->\n")]


@pytest.mark.parametrize("path", tables.documents(), ids=named)
def test_a_document_holds_the_tables_that_the_code_gives(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    assert text == tables.updated(text), "out of date: run python docs/generate_tables.py"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    prose = INDENTED.sub("", path.read_text(encoding="ascii"))
    dead = [link for link in LINK.findall(prose) if "://" not in link and not _leads(path, link)]
    assert not dead


def _leads(path: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as hosting sites form them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_what_people_look_for_is_two_clicks_from_the_readme() -> None:
    near = {ROOT / "README.md"}
    for _ in range(2):
        near |= {
            (page.parent / link.partition("#")[0]).resolve()
            for page in near
            if page.suffix == ".md"
            for link in LINK.findall(page.read_text())
            if "://" not in link
        }
    assert {ROOT / "docs" / f"{name}.md" for name in ("own_data", "settings", "cluster", "api")} <= near
    assert "\n::: ptycho.RawData\n" in (ROOT / "docs" / "api.md").read_text()
    notebooks, pages = set(ROOT.glob("examples/*.ipynb")), set(DOCUMENTS)
    assert notebooks <= near
    assert pages - near == set()


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_every_picture_of_the_gallery_is_made_and_shown() -> None:
    made = set(_load(ROOT / "docs" / "make_gallery.py").CASES)
    assert made == {path.stem for path in (ROOT / "docs" / "images" / "gallery").iterdir()}
    assert made == set(
        re.findall(r"images/gallery/([\w-]+)\.png", (ROOT / "docs" / "gallery.md").read_text())
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_file_of_the_code_that_a_document_names_is_there(path: Path) -> None:
    missing = [
        name
        for name in CODE_PATH.findall(path.read_text())
        if not any((ROOT / folder / name).exists() for folder in ([""] if "/" in name else BESIDE))
    ]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_module_and_name_of_the_code_that_a_document_names_is_there(path: Path) -> None:
    names = set(DOTTED.findall(path.read_text())) - ENTRY_POINTS
    assert not [name for name in names if not _is_in_the_code(name)]


def test_every_module_and_name_of_the_code_that_a_docstring_names_is_there() -> None:
    texts = [
        path.read_text() for package in ("ptycho", "ptycho_torch") for path in (ROOT / package).rglob("*.py")
    ]
    names = {name for text in texts for name in DOTTED.findall(text)} - ENTRY_POINTS
    assert not [name for name in sorted(names) if not _is_in_the_code(name)]


def _is_in_the_code(name: str) -> bool:
    """Whether a dotted name is a module, or is declared in one: not only imported there."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:length])
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if file.is_file():
            rest = parts[length:]
            if not rest:
                return True
            exported = "__all__" in (text := file.read_text()) and f'"{rest[0]}"' in text
            return (
                exported
                or re.search(rf"^(def|class) {rest[0]}\b|^{rest[0]}(:|\b.* =)", text, re.M) is not None
            )
    return False


def test_every_name_that_a_document_places_in_a_file_is_declared_there() -> None:
    claims = {
        (found["name"] or found["held"], found["file"] or found["home"])
        for path in DOCUMENTS
        for found in PLACED.finditer(path.read_text())
    }
    assert len(claims) >= 5
    missing = [
        claim for claim in sorted(claims) if not set(claim[0].split(".")) <= _declared(ROOT / claim[1])
    ]
    assert not missing


def _declared(file: Path) -> set[str]:
    """The names of classes, functions and fields, and of what is assigned, in a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), file.name)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
            case _:
                pass
    return names


@pytest.mark.parametrize("path", tables.documents(), ids=named)
def test_every_test_that_a_document_names_is_there(path: Path) -> None:
    claims = NAMED_TEST.findall(path.read_text())
    missing = [f"{file}::{name}" for file, name in claims if name not in _tests_of(ROOT / file)]
    assert not missing


def test_every_test_of_the_faults_holds_a_guarantee() -> None:
    claims = set(NAMED_TEST.findall((ROOT / "docs" / "guarantees.md").read_text()))
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    found = {(f"tests/faults/{file.name}", name) for file in files for name in _tests_of(file)}
    # how many cases there are is no guarantee
    assert {test for test in found if not test[1].startswith("test_there_are_enough_")} <= claims


def _tests_of(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    nodes = ast.parse(file.read_text(), file.name).body
    return {
        node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_table_of_sources_is_in_their_order() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text().partition("## How a setting gets")[2]
    kinds = re.findall(r"^\| \d+ \|.*?\| `([\w-]+)` \|", text, re.MULTILINE)
    assert tuple(dict.fromkeys(kinds)) == PRECEDENCE


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_accounted_for(section: str) -> None:
    assert set(tables.CONSUMERS[section]) == set(tables.rows_of(section))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_reader_reads_the_field(section: str) -> None:
    claims = (
        (field, *place.partition(":")[::2])
        for field, said in tables.CONSUMERS[section].items()
        for place in said["read"]
    )
    wrong = [
        f"{module} does not read {attribute or field}"
        for field, module, attribute in claims
        if (attribute or field) not in _attributes_read(module)
    ]
    assert not wrong


def test_every_module_that_reads_an_execution_setting_is_listed() -> None:
    listed = {name: " ".join(said["read"]) for name, said in tables.CONSUMERS["execution"].items()}
    missing = [
        f"{name}: {module}"
        for path in sorted((ROOT / "ptycho_torch").rglob("*.py"))
        for module in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
        for name in _execution_settings_read(path)
        if module not in listed.get(name, module)
    ]
    assert not missing


def _execution_settings_read(path: Path) -> set[str]:
    """What is read of an object that is named `execution` or `execution_config`."""
    owners = re.compile(r"(.*\.)?execution(_config)?")
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(), path.name))
        if isinstance(node, ast.Attribute) and owners.fullmatch(ast.unparse(node.value))
    }


def test_only_a_field_of_one_value_may_be_read_by_nothing() -> None:
    unread = {
        field for section in SECTIONS for field, said in tables.CONSUMERS[section].items() if not said["read"]
    }
    assert unread == {"positions_provided"}


def test_every_field_of_the_backend_is_read_outside_its_table() -> None:
    """`config_bridge` only carries a field over."""
    modules = (ROOT / "ptycho_torch").rglob("*.py")
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules
        if path.stem not in ("config_bridge", "config_params")
    ]
    read = set.union(*map(_attributes_read, names))
    fields = {f"{cls.__name__}.{field}" for cls in tables.BACKEND.values() for field in vars_of(cls)}
    canonical = {pair.torch: pair.field for pair in tables.TABLE}
    carried = {
        f"{place.split('.')[0].title()}Config.{place.split('.')[1]}"
        for places, field in canonical.items()
        for place in places
        if field in read
    }
    carried |= {
        f"{place.split('.')[0].title()}Config.{place.split('.')[1]}"
        for place, knob in tables.EXECUTION.items()
        if knob in read
    }
    # of one value, which callers state
    carried |= {"ModelConfig.max_position_jitter", "ModelConfig.offset"}
    carried |= {"TrainingConfig.framework", "TrainingConfig.orchestrator"}
    unread = {name for name in fields - carried if name.partition(".")[2] not in read}
    assert not unread


def vars_of(cls: type) -> list[str]:
    return list(tables.section_of(cls).all_fields)


def _attributes_read(module: str) -> set[str]:
    path = ROOT / f"{module.replace('.', '/')}.py"
    nodes = ast.walk(ast.parse(path.read_text(), path.name))
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()) | ast.Subscript(slice=ast.Constant(str(name))):
                names.add(name)
            case _:
                pass
    return names


def test_every_knob_is_proved() -> None:
    assert set(tables.evidence.proofs()) == set(tables.evidence.KNOBS)


def test_the_reason_of_every_additional_knob_is_given() -> None:
    text = (ROOT / "docs" / "decisions" / "field-list.md").read_text()
    listed = text.partition("### Additions to the execution")[2].partition("###")[0]
    cls = PyTorchExecutionConfig
    assert (
        re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE)
        == tables.rows_of("execution")[len(cls.__annotations__) :]
    )


def test_the_data_contract_names_every_key_that_is_read() -> None:
    text = (ROOT / "specs" / "data_contracts.md").read_text().partition("## 2. NPZ")[2].partition("## 3.")[0]
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    assert {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} == set(NPZ_KEYS)


@pytest.mark.parametrize("path", tables.documents(), ids=named)
def test_every_variable_that_a_document_names_sets_a_knob(path: Path) -> None:
    prose = SESSION.sub("", path.read_text())
    names = {name.lower() for name in VARIABLE.findall(prose)}
    assert names <= set(PyTorchExecutionConfig.model_fields)


def commands() -> Iterator[tuple[Path, str]]:
    for path in tables.documents():
        for block in fenced(path, "sh"):
            yield from ((path, line) for line in block.splitlines() if line.startswith("ptycho "))


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{named(path)}: {line}") for path, line in commands()]
)
def test_every_command_line_in_a_document_is_understood(line: str) -> None:
    typed = itertools.takewhile(lambda word: word not in (">", "|"), shlex.split(line, comments=True))
    assert exit_code(list(typed)[1:]) == 0


def exit_code(words: list[str]) -> int:
    try:
        build_parser().parse_args(words)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


@pytest.mark.parametrize(
    ("path", "number"),
    [
        pytest.param(path, number, id=f"{named(path)}: {number}")
        for path in tables.documents()
        for number in range(len(fenced(path, "toml")))
    ],
)
def test_every_run_file_in_a_document_is_accepted(path: Path, number: int, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(fenced(path, "toml")[number])
    TrainingConfig.from_file(file)
    InferenceConfig.from_file(file)
    PyTorchExecutionConfig.from_file(file)


@pytest.mark.integration
@pytest.mark.parametrize("path", RUNNABLE, ids=named)
def test_the_examples_of_a_document_run(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "examples.py"
    script.write_text("\n".join(fenced(path, "python", "<!-- runs -->\n")))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", script.name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
