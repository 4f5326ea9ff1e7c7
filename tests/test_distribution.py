"""The wheel and the source distribution hold what the package needs, and nothing else."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ptycho", "ptycho_torch")
FOR_DEVELOPERS = {"bench", "dev", "docs"}
"""Extras that nothing in the packages may need."""
BROUGHT_BY = {
    "annotated-types": "pydantic",
    "markupsafe": "jinja2",
    "pydantic-core": "pydantic",
    "typing-extensions": "pydantic",
}
"""What is imported as a part of a dependency, which requires the version that fits."""

pytestmark = pytest.mark.integration


class Built(NamedTuple):
    """The two distributions of the checkout."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built as an index would get them: the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def sources(*below: str) -> set[str]:
    """Files of the checkout that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *below]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return {name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()}


def test_wheel_holds_every_file_of_the_packages_and_no_other(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == sources(*PACKAGES)
    for name in ("ptycho/py.typed", "ptycho_torch/py.typed", "ptycho/recipes/standard.toml"):
        assert name in names


def test_source_distribution_holds_the_checkout(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() <= names
    assert names - sources() == {"PKG-INFO"}


def test_metadata_pass_the_check_of_an_index(built: Built) -> None:
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built], check=True, capture_output=True
    )


def imported(node: ast.AST, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """The top-level modules that code imports when it runs, and whether only a function does."""
    children = ast.iter_child_nodes(node)
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            children = iter(node.orelse)
        case ast.Import():
            yield from ((alias.name.partition(".")[0], in_function) for alias in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module.partition(".")[0], in_function
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            in_function = True
        case _:
            pass
    for child in children:
        yield from imported(child, in_function)


def distributions(requirements: Iterable[str]) -> set[str]:
    """The normalized names in requirements."""
    names = (re.match(r"[\w.-]+", one) for one in requirements)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name is not None}


def test_every_package_that_is_imported_is_named_in_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = distributions(project["dependencies"])
    for name, bringer in BROUGHT_BY.items():
        assert name in distributions(metadata.requires(bringer) or [])
    always = named | {name for name, bringer in BROUGHT_BY.items() if bringer in named}
    extras = project["optional-dependencies"].items()
    chosen = distributions(one for extra, needs in extras if extra not in FOR_DEVELOPERS for one in needs)

    found = {
        one
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for one in imported(ast.parse(path.read_text(), path.name))
        if one[0] not in {*PACKAGES, *sys.stdlib_module_names}
    }
    homes = metadata.packages_distributions()
    missing = [
        module
        for module, in_function in sorted(found)
        if not distributions(homes.get(module, [module])) & (always | chosen if in_function else always)
    ]
    assert {"torch", "yaml", "mlflow"} <= {module for module, _ in found}
    assert not missing


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a clean environment that has the wheel; what it depends on is read where the tests have it.

    A line of a `.pth` file adds that folder without the `.pth` files inside, so the checkout is not importable here.
    """
    folder = tmp_path_factory.mktemp("clean") / "environment"
    venv.create(folder, with_pip=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    Path(paths["purelib"], "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = Path(paths["scripts"], "python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        built.wheel,
    ]
    subprocess.run(install, check=True, capture_output=True)
    return Path(paths["scripts"])


def called(command: list[str | Path], folder: Path) -> str:
    """What a command prints, away from the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installed_package_works_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = called(
        [installed / "python", "-c", "import ptycho, ptycho_torch; print(ptycho.__file__)"], tmp_path
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    ptycho = installed / "ptycho"
    called([ptycho, "config", "init"], tmp_path)
    called([ptycho, "simulate", "--output", "scan.npz", "--N", "32", "--n-positions", "60"], tmp_path)
    called(
        [ptycho, "reconstruct", "scan.npz", "--output-dir", "run", "--n-iterations", "5", "--quiet"], tmp_path
    )
    assert (tmp_path / "run" / "reconstruction.npz").is_file()
    small = ["--nepochs", "1", "--n-unrolled-steps", "1", "--n-filters-scale", "1", "--accelerator", "cpu"]
    called([ptycho, "train", "scan.npz", "--output-dir", "model", *small, "--quiet"], tmp_path)
    for run in ("run", "model"):
        called([ptycho, "report", run, "--output", f"{run}.html"], tmp_path)
        assert (tmp_path / f"{run}.html").is_file()
