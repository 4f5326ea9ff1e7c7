"""`ptycho inspect` and `ptycho import`: what a file holds, and its scan as an NPZ file."""

import json
import re
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import ptycho as package
from ptycho.raw_data import RawData
from ptycho.simulation import simulate_scan
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
    code, shown, said = ptycho("inspect", "raw.h5", *ALL)
    (following,) = [line for line in said.splitlines() if line.startswith("next: ")]
    assert shlex.split(following) == ["next:", "ptycho", "reconstruct", "raw.h5", *ALL]
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines() if "  " in line.strip())
    assert code == 0
    assert "/entry/patterns (20 x 24 x 30, uint16)" in shown
    assert (lines["patterns"], lines["pixels"], lines["domain"]) == ("20", "20 x 20", "intensity")
    assert float(lines["step_px"]) == pytest.approx(3 * 20 / 24)
    assert lines["object_pixel_m"] == "[2.4e-08, 2.4e-08]"
    assert lines["probe"] == "none: it will be estimated"
    assert lines["orientation"].startswith("not compared")
    assert shown.splitlines()[-1] == "inspections/raw.h5.png"
    assert Path("inspections/raw.h5.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_replaces_no_file_and_no_picture_of_another_scan(ptycho: Run) -> None:
    before = Path("raw.h5").read_bytes()
    code, _, said = ptycho("inspect", "raw.h5", *ALL, "--output", "raw.h5")
    assert code == 2
    assert "raw.h5: expected a new file; got an existing one" in said
    assert Path("raw.h5").read_bytes() == before
    assert ptycho("inspect", "raw.h5", *ALL, "--output", "look.png")[0] == 0
    assert ptycho("inspect", "raw.h5", *ALL, "--output", "look.png")[0] == 2
    assert ptycho("inspect", "raw.h5", *ALL, "--output", "look.png", "--overwrite")[0] == 0
    for folder in ("a", "b"):
        Path(folder).mkdir()
        standard(Path(folder, "raw.1.h5"))
        assert ptycho("inspect", f"{folder}/raw.1.h5", *ALL)[0] == 0
    assert len(list(Path("inspections").iterdir())) == 2


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
    assert (code, "got an existing one" in said) == (2, True)
    assert ptycho("import", "raw.h5", *ALL, "-o", "scan.npz", "--overwrite")[0] == 0
    code, _, said = ptycho("import", "raw.h5", *ALL, "-o", "other.npz", "--orientation", "auto")
    assert (code, said.startswith("ptycho import: orientation: ")) == (2, True)
    assert not Path("other.npz").exists()


def test_a_notebook_shows_the_picture_of_a_scan() -> None:
    found = package.load("raw.h5", **NAMED, **LENGTHS, **SQUARE).inspect()
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "object_pixel_m" in str(found)


def compressed(path: Path, n: int, side: int, n_at_once: int) -> Path:
    """A file of n patterns in compressed pieces, all of them the same, which takes little time and space to write."""
    rows = np.indices((side, side)) - side // 2
    light = np.exp(-(rows**2).sum(axis=0) / (side / 6) ** 2)
    piece = np.random.default_rng(0).poisson(100 * light / light.sum(), (n_at_once, side, side))
    packed = zlib.compress(piece.astype("<f4").tobytes(), 1)
    chunks = (n_at_once, side, side)
    with h5py.File(path, "w") as file:
        patterns = file.create_dataset("p", (n, side, side), "<f4", chunks=chunks, compression="gzip")
        for first in range(0, n, n_at_once):
            patterns.id.write_direct_chunk((first, 0, 0), packed)
        file["y"], file["x"] = np.arange(n) // 100 * 5.0, np.arange(n) % 100 * 5.0
        file["light"] = np.sqrt(light).astype(complex)
    return path


LARGE = ("--patterns=p", "--positions-y=y", "--positions-x=x", "--positions-unit=px", "--probe=light")


def test_of_many_patterns_evenly_spread_ones_are_looked_at(
    ptycho: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed(tmp_path / "large.h5", 2000, 16, 8)
    whole = json.loads(ptycho("inspect", "large.h5", *LARGE, "--json")[1])["scan"]
    monkeypatch.setattr("ptycho.pattern_statistics.LOOKED_AT", 256 * 16**2 * 4)
    found = json.loads(ptycho("inspect", "large.h5", *LARGE, "--json")[1])["scan"]
    looked_at = found.pop("looked_at")
    assert re.fullmatch(
        r"(\d+) patterns, in \d+ parts that are spread over the scan and lie in its middle", looked_at
    )
    assert 256 <= int(looked_at.split()[0]) <= 512
    for name in ("patterns", "pixels", "domain", "extent_px", "step_px", "probe", "orientation"):
        assert found[name] == whole[name], name
    assert found["photons_per_pattern"] == pytest.approx(whole["photons_per_pattern"], rel=0.05)
    named = dict(flag.removeprefix("--").replace("-", "_").split("=") for flag in LARGE)
    package.load("large.h5", **named).to_file("s.npz")
    own = json.loads(ptycho("inspect", "s.npz", "--json")[1])["scan"]
    assert own["looked_at"].split()[1] == "patterns,"
    assert int(own["looked_at"].split()[0]) < 512
    assert (own["patterns"], own["extent_px"]) == (2000, whole["extent_px"])


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan whose x goes the other way."""
    scan = simulate_scan(N=32, n_positions=400, nphotons=1e5, pattern="raster")
    places = scan.positions_px * (1, -1)
    kept = {"domain": scan.domain, "bad_pixels": scan.bad_pixels, "metadata": scan.metadata}
    turned = RawData.from_arrays(scan.patterns, places - places.min(axis=0) + 16, scan.probe, **kept)
    path = tmp_path_factory.mktemp("mirrored") / "mirrored.npz"
    turned.to_file(path)
    return path


@pytest.mark.parametrize("part", [1.0, 0.3], ids=["whole", "read in part"])
def test_another_orientation_is_noticed(
    ptycho: Run, mirrored: Path, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bytes_looked_at = part * RawData.from_file(mirrored).patterns.nbytes
    monkeypatch.setattr("ptycho.pattern_statistics.LOOKED_AT", int(bytes_looked_at))
    found = json.loads(ptycho("inspect", mirrored, "--json")[1])
    assert ("looked_at" in found["scan"]) == (part < 1)
    assert found["scan"]["orientation"].startswith("identity: another one")
    noticed = [one for one in found["verdicts"] if one["name"] == "orientation"]
    assert [one["severity"] for one in noticed] == ["warning"]
    assert "set orientation to flip-x" in noticed[0]["remedy"]
    assert noticed[0]["settings"] == {"orientation": "flip-x"}
    right = json.loads(ptycho("inspect", mirrored, "--orientation", "flip-x", "--json")[1])
    assert right["scan"]["orientation"].startswith("flip-x: none")
    assert not [one for one in right["verdicts"] if one["name"] == "orientation"]


@pytest.mark.parametrize("given", [[], ["--orientation=flip-y"]], ids=["not set", "set"])
def test_the_next_command_sets_the_orientation_that_was_noticed(
    ptycho: Run, mirrored: Path, given: list[str]
) -> None:
    _, _, said = ptycho("inspect", mirrored, "--centre=none", *given)
    (following,) = [line for line in said.splitlines() if line.startswith("next: ")]
    assert sorted(shlex.split(following)[4:]) == ["--centre=none", "--orientation=flip-x"]


@pytest.mark.parametrize("n", [1, 60])
def test_patterns_that_are_all_equal_are_named(ptycho: Run, n: int) -> None:
    scan = simulate_scan(N=32, n_positions=60)
    patterns = np.repeat(scan.patterns[:1], n, axis=0)
    RawData.from_arrays(patterns, scan.positions_px[:n], scan.probe, domain=scan.domain).to_file("equal.npz")
    _, shown, _ = ptycho("inspect", "equal.npz")
    assert ("warning: patterns: expected patterns that differ; got equal ones." in shown) == (n > 1)


def test_another_orientation_is_noticed_in_a_notebook(mirrored: Path) -> None:
    assert [one.name for one in package.load(mirrored).inspect().verdicts][-1] == "orientation"


@pytest.mark.integration
@pytest.mark.parametrize(("n", "side"), [(10_000, 128), (76_000, 256)], ids=["10,000 patterns", "20 GB"])
def test_a_large_file_is_looked_at_in_seconds_and_bounded_memory(tmp_path: Path, n: int, side: int) -> None:
    compressed(tmp_path / "large.h5", n, side, 50)
    program = (
        "import sys, time; from ptycho_torch.cli.main import main; code = main(sys.argv[1:]); "
        "from ptycho_torch.runtime.memory import peak_resident; "
        "print(peak_resident(), time.process_time()); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "inspect", "large.h5", *LARGE]
    done = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    peak, seconds = map(float, done.stdout.splitlines()[-1].split())
    assert peak <= 1e9
    assert seconds <= 10  # all patterns of 20 GB take minutes
