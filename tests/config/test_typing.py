"""Type checkers know every setting of every section, as an installed package tells them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptycho
import ptycho_torch
from ptycho.config.section import TABLES, Section, section_of_table

ROOT = Path(__file__).parents[2]
USE = Path(__file__).with_name("typed_use.py")
HEAD = """\
from pathlib import Path
from ptycho.config.config import *

class Stranger:
    pass

"""


def lines_of(section: Section) -> Iterator[tuple[str, bool]]:
    """Lines of a client, and whether a checker has to refuse each."""
    cls = section.cls.__name__
    for name in section.all_fields:
        default = getattr(section.cls(), name)
        value = f"{type(default).__name__}()" if name in section.nested else repr(default)
        value = repr(os.fspath(default)) if isinstance(default, Path) else value
        yield f"{cls}({name}={value})", False
        yield f"{cls}({name}=Stranger())", True
        yield f"{cls}().replace({name}={value})", False
        yield f"_{cls}_{name}: Stranger = {cls}().{name}", True
    yield f"{cls}(wormhole=1)", True
    yield f"{cls}().wormhole", True
    yield f"_{cls}_told: str = {cls}().explain() + {cls}().to_toml() + {cls}().to_yaml()", False
    yield f"_{cls}_diff: Stranger = {cls}().diff({cls}())", True


def checked(checker: str, path: Path) -> set[int]:
    """The lines of a file that a type checker refuses."""
    options = {
        "mypy": ["-m", "mypy", "--strict", "--cache-dir", str(path.parent / "cache")],
        "pyright": ["-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
    }
    done = subprocess.run(
        [sys.executable, *options[checker], path.name],
        capture_output=True,
        text=True,
        cwd=path.parent,
        env={**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    if checker == "mypy":
        return {int(line) for line in re.findall(rf"^{path.name}:(\d+): error:", done.stdout, re.MULTILINE)}
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"}


@pytest.mark.integration
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_knows_every_setting_of_every_section(checker: str, tmp_path: Path) -> None:
    client = [line for table in TABLES for line in lines_of(section_of_table(table))]
    assert len(client) > 400
    text = HEAD + "\n".join(line for line, _ in client)
    path = tmp_path / "client.py"
    path.write_text(text)
    wrong = {HEAD.count("\n") + number for number, (_, refused) in enumerate(client, 1) if refused}
    found = checked(checker, path)
    lines = text.splitlines()
    assert {lines[number - 1] for number in found ^ wrong} == set()


@pytest.mark.integration
def test_what_pyright_refuses_of_a_client_mypy_refuses_too(tmp_path: Path) -> None:
    text = USE.read_text()
    path = tmp_path / "client.py"
    path.write_text(text)
    marked = {number for number, line in enumerate(text.splitlines(), 1) if "# pyright: ignore[" in line}
    assert checked("mypy", path) == marked != set()


def test_both_packages_tell_that_they_are_typed() -> None:
    for package in (ptycho, ptycho_torch):
        assert Path(package.__file__ or "").with_name("py.typed").is_file()
