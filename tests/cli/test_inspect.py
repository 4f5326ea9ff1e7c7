"""`ptycho inspect` and `ptycho import`: what a file holds, and its scan as an NPZ file."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import ptycho as package
from ptycho.raw_data import RawData
from tests.core.foreign_files import LENGTHS, NAMED, SQUARE, standard

Run = Callable[..., tuple[int, str, str]]


def flags(settings: dict[str, object]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


ALL = flags(NAMED | LENGTHS | SQUARE)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    standard(tmp_path / "raw.h5")


def test_a_scan_is_shown_with_its_figures_and_a_picture(ptycho: Run) -> None:
    code, shown, _ = ptycho("inspect", "raw.h5", *ALL)
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines() if "  " in line.strip())
    assert code == 0
    assert "/entry/patterns (20 x 24 x 30, uint16)" in shown
    assert (lines["patterns"], lines["pixels"], lines["domain"]) == ("20", "[20, 20]", "intensity")
    assert float(lines["step_px"]) == pytest.approx(3 * 20 / 24)
    assert lines["object_pixel_m"] == "[2.4e-08, 2.4e-08]"
    assert lines["probe"] == "none: it will be estimated"
    assert shown.splitlines()[-1] == "inspections/raw.png"
    assert Path("inspections/raw.png").read_bytes().startswith(b"\x89PNG")


def test_figures_come_as_json(ptycho: Run) -> None:
    code, shown, _ = ptycho("inspect", "raw.h5", *ALL, "--json", "--output", "look.png")
    found = json.loads(shown)
    assert (code, found["picture"], found["scan"]["patterns"]) == (0, "look.png", 20)
    assert any(held.startswith("/entry/patterns") for held in found["holds"])
    assert isinstance(found["verdicts"], list)


def test_a_file_in_which_no_scan_is_found_is_shown_all_the_same(ptycho: Run) -> None:
    code, shown, said = ptycho("inspect", "raw.h5")
    assert code == 2
    assert "  /entry/patterns (20 x 24 x 30, uint16)" in shown.splitlines()
    assert "Name it, as in --patterns /entry/patterns." in said
    code, shown, _ = ptycho("inspect", "raw.h5", "--json")
    found = json.loads(shown)
    assert (code, found["scan"], len(found["problems"])) == (2, None, 2)


def test_settings_may_be_in_a_file(ptycho: Run) -> None:
    rows = [f"{name} = {json.dumps(value)}" for name, value in (NAMED | LENGTHS | SQUARE).items()]
    Path("beamline.toml").write_text("\n".join(["[data]", *rows]) + "\n")
    assert ptycho("inspect", "raw.h5", "--config", "beamline.toml")[0] == 0


def test_an_imported_scan_is_the_one_that_was_read(ptycho: Run) -> None:
    code, shown, _ = ptycho("import", "raw.h5", *ALL, "-o", "scan.npz")
    assert (code, shown) == (0, "scan.npz: 20 patterns of 20 x 20 pixels, intensity, no probe\n")
    own = package.load("raw.h5", **NAMED, **LENGTHS, **SQUARE)
    other = RawData.from_file("scan.npz")
    np.testing.assert_array_equal(own.patterns, other.patterns)
    np.testing.assert_array_equal(own.positions_px, other.positions_px)
    assert (other.has_probe, other.domain) == (False, "intensity")
    assert other.metadata["object_pixel_size_m"] == own.metadata["object_pixel_size_m"]
    code, _, said = ptycho("import", "raw.h5", *ALL, "-o", "scan.npz")
    assert (code, "expected nothing there yet; got a file" in said) == (2, True)
    assert ptycho("import", "raw.h5", *ALL, "-o", "scan.npz", "--overwrite")[0] == 0


def test_a_notebook_shows_the_picture_of_a_scan() -> None:
    found = package.load("raw.h5", **NAMED, **LENGTHS, **SQUARE).inspect()
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "object_pixel_m" in str(found)


@pytest.mark.integration
def test_a_large_file_is_looked_at_in_bounded_memory(tmp_path: Path) -> None:
    rows = np.arange(10_000)
    with h5py.File(tmp_path / "large.h5", "w") as file:
        patterns = file.create_dataset("p", (10_000, 128, 128), np.float32, chunks=(50, 128, 128))
        light = np.random.default_rng(0).poisson(3, (50, 128, 128)).astype(np.float32)
        for start in range(0, 10_000, 50):
            patterns[start : start + 50] = light
        file["y"], file["x"] = rows // 100 * 5.0, rows % 100 * 5.0
    words = (
        "inspect",
        "large.h5",
        "--patterns=p",
        "--positions-y=y",
        "--positions-x=x",
        "--positions-unit=px",
    )
    program = (
        "import sys; from ptycho_torch.cli.main import main; code = main(sys.argv[1:]); "
        "from ptycho_torch.runtime.memory import peak_resident; print(peak_resident()); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    assert int(done.stdout.splitlines()[-1]) <= 1.1e9
