"""Files that other programs wrote: one command gives the right picture, in the right orientation."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import ptycho
from ptycho.raw_data import RawData
from ptycho_torch.cli.main import main
from ptycho_torch.simulate import simulate_scan
from tests.legacy_dictionary import legacy_dictionary_restored

pytestmark = pytest.mark.integration

TIKE = ("--patterns=data[0]", "--positions=scan[0]", "--centre=corner")
"""What only a person knows of the file of tike: what its keys mean, and that the zero frequency is in the corner."""
PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"


@pytest.fixture(scope="session")
def foreign(shared_data: Path) -> Path:
    folder = shared_data / "foreign"
    if not folder.is_dir():
        pytest.skip(f"needs the files in {folder}, which is not there")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTYCHO_EXEC_ACCELERATOR", "cpu")
    with legacy_dictionary_restored():
        yield


def phase_agreement(found: NDArray[Any], truth: NDArray[Any], margin: int = 10) -> float:
    """Correlation of the phases of an object with the truth, where it lies best on it as it is: not turned; else 0.

    A constant phase and a phase ramp, which patterns do not tell, are taken off.
    """
    found = found[margin:-margin, margin:-margin]
    size = [a + b for a, b in zip(found.shape, truth.shape, strict=True)]
    spectra = [np.fft.fft2(one - one.mean(), size) for one in (truth, found)]
    overlap = np.abs(np.fft.ifft2(spectra[0] * spectra[1].conj()))
    down, right = np.unravel_index(np.argmax(overlap), overlap.shape)
    under = truth[down : down + found.shape[0], right : right + found.shape[1]]
    over = found[: under.shape[0], : under.shape[1]]
    if under.size <= 0.6 * found.size:
        return 0.0
    ratio = over * under.conj()
    spectrum = np.fft.fft2(ratio, [8 * length for length in ratio.shape])
    peak = np.unravel_index(np.argmax(np.abs(spectrum)), spectrum.shape)
    rows, columns = np.indices(ratio.shape)
    turns = peak[0] / spectrum.shape[0] * rows + peak[1] / spectrum.shape[1] * columns
    over = over * np.exp(-2j * np.pi * turns)
    middle = np.angle(under.mean())
    over = over * np.exp(-1j * np.angle((over * under.conj()).sum()))
    phases = [np.angle(one * np.exp(-1j * middle)).reshape(-1) for one in (over, under)]
    return float(np.corrcoef(phases)[0, 1])


def reconstructed(*words: object) -> dict[str, NDArray[Any]]:
    assert main(["reconstruct", *map(str, words), "--output-dir=out", "--quiet"]) in (0, 3)
    with np.load("out/reconstruction.npz") as found:
        return dict(found)


@pytest.mark.parametrize(
    ("name", "truth", "words", "least"),
    [
        ("cdtools.cxi", "cdtools", (), 0.9),
        ("cube4d.h5", "cube", (), 0.9),
        ("sample.ptyd", "moon", (), 0.9),
        ("sample.ptyd", "moon", ("--aperture=3.4 um",), 0.9),
        ("sample.ptyd", "moon", ("--refine-positions",), 0.95),
        ("pd_h5/product.h5", "pd", (), 0.9),
        ("pd_cxi/product.cxi", "pd", (), 0.9),
        ("pd_cxi/diffraction.cxi", "pd", (), 0.9),
    ],
)
def test_one_command_gives_the_object_as_it_lies(
    foreign: Path, name: str, truth: str, words: tuple[str, ...], least: float
) -> None:
    found = reconstructed(foreign / name, *words)["object"]
    with np.load(foreign / f"{truth}_truth.npz") as known:
        assert phase_agreement(found, known["object"]) >= least


def test_the_siemens_star_from_its_own_file_is_that_of_the_contract(foreign: Path, shared_data: Path) -> None:
    path, contract = foreign / "siemens-star-small.npz.bz2", shared_data / "siemens-star-128.npz"
    scan = ptycho.load(path, patterns="data[0]", positions="scan[0]", centre="corner", probe="probe[0,0,0]")
    other = RawData.from_file(contract)
    np.testing.assert_allclose(scan.amplitude(np.arange(9)), other.amplitude(np.arange(9)), atol=1e-3)


def test_the_siemens_star_is_sharp_with_a_probe_that_is_estimated(foreign: Path) -> None:
    words = ("--probe=estimate", "--probe-modes=4", "--n-iterations=60", "--quiet")
    path = foreign / "siemens-star-small.npz.bz2"
    assert main(["reconstruct", str(path), *TIKE, *words, "--output-dir=star"]) == 0
    assert r_factor("star") <= 0.148


def test_a_probe_that_is_estimated_gives_the_picture_of_the_true_one(shared_data: Path) -> None:
    path = shared_data / "synth-64-test-1e6.npz"
    assert main(["reconstruct", str(path), "--probe=estimate", "--quiet", "--output-dir=synth"]) == 0
    figures = json.loads(Path("synth/metrics.json").read_text())
    assert figures["amplitude_psnr_db"] >= 35
    assert figures["phase_psnr_db"] >= 38


def r_factor(folder: str) -> float:
    return json.loads(Path(folder, "metrics.json").read_text())["r_factor"]


def test_a_near_field_product_is_refused(foreign: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(foreign / "pd_h5", tmp_path / "near")
    for file in (tmp_path / "near").iterdir():
        file.chmod(0o644)
    (tmp_path / "near").chmod(0o755)
    with h5py.File(tmp_path / "near" / "product.h5", "a") as product:
        product.attrs["far_field"] = False
    assert main(["reconstruct", "near/product.h5"]) == 2
    assert "far_field: expected patterns in the far field; got False" in capsys.readouterr().err


def test_the_near_field_file_is_refused_with_the_reason(foreign: Path, capsys: Any) -> None:
    assert main(["reconstruct", str(foreign / "PETRAIII_P25_Near_Field_Ptycho.cxi")]) == 2
    assert "expected patterns in the far field; got steps of " in capsys.readouterr().err


def test_positions_that_are_mirrored_are_noticed_and_mended(foreign: Path, capsys: Any) -> None:
    words = (foreign / "cdtools.cxi", "--orientation=flip-x", "--n-iterations=5", "--overwrite")
    reconstructed(*words)
    said = capsys.readouterr().err
    assert "turned or mirrored by flip-x the patterns are explained clearly better" in said
    assert "set orientation to identity" in said
    scan = ptycho.load(foreign / "cdtools.cxi", orientation="flip-y")
    copy = RawData.from_arrays(scan.patterns, scan.positions_px, None, domain="intensity")
    copy.to_file("mirrored.npz")
    found = reconstructed("mirrored.npz", "--orientation=auto", "--overwrite")["object"]
    with np.load(foreign / "cdtools_truth.npz") as known:
        turned = found[::-1, ::-1].conj()  # half a turn of both is not told
        assert max(phase_agreement(one, known["object"]) for one in (found, turned)) >= 0.9


def test_the_star_is_turned_as_its_own_file_has_it(foreign: Path, capsys: Any) -> None:
    path, few = str(foreign / "siemens-star-small.npz.bz2"), ("--n-iterations=2", "--quiet")
    main(["reconstruct", path, *TIKE, "--probe=probe[0,0,0]", *few, "--output-dir=as-it-is"])
    assert "explained clearly better" not in capsys.readouterr().err
    main(
        [
            "reconstruct",
            path,
            *TIKE,
            "--probe=probe[0,0,0]",
            *few,
            "--orientation=transpose",
            "--output-dir=turned",
        ]
    )
    said = capsys.readouterr().err
    assert "explained clearly better" in said
    assert "set orientation to identity" in said


def test_a_model_reads_a_scan_as_its_training_did(tmp_path: Path, capsys: Any) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=1e6)
    with h5py.File("raw.h5", "w") as file:
        file["frames"] = np.square(scan.patterns).round().astype(np.uint32).transpose(1, 2, 0)
        file["y"], file["x"] = 1e-3 * scan.ycoords, -1e-3 * scan.xcoords
    reading = ("--patterns=frames", "--axes=HWn", "--positions-y=y", "--positions-x=x", "--positions-unit=um")
    words = (*reading, "--object-pixel=1 nm", "--orientation=flip-x", "--measurement-domain=intensity")
    small = ("--nepochs=1", "--n-filters-scale=1", "--gridsize=1", "--quiet")
    assert main(["import", "raw.h5", *words, "--defocus=1 um", "--output=a.npz"]) == 2
    assert main(["train", "raw.h5", *words, *small, "--output-dir=model"]) == 0
    capsys.readouterr()
    assert main(["reconstruct", "model", "raw.h5", "--output-dir=picture"]) in (0, 3)
    assert "orientation" not in capsys.readouterr().err
    recorded = json.loads(Path("picture/config.json").read_text())
    assert "intensity" in recorded["measurement_domain"]["raw.h5"]
    with np.load("picture/reconstruction.npz") as found:
        moved = np.ptp(found["positions_px"], axis=0)
    np.testing.assert_allclose(moved, np.ptp(scan.positions_px, axis=0), atol=1e-3)


# The page ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(foreign: Path, tmp_path: Path) -> None:
    """The files that the page names."""
    for name in ("cdtools.cxi", "cube4d.h5", "sample.ptyd"):
        shutil.copy(foreign / name, tmp_path / name)
    shutil.copy(foreign / "cdtools.cxi", tmp_path / "scan.cxi")
    scan = ptycho.load(foreign / "pd_h5" / "product.h5")
    counts = np.zeros((len(scan), 80, 96), np.uint32)
    counts[:, 4:68, 18:82] = scan.patterns
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["entry/data"] = counts
        for axis, at in (("x", scan.xcoords), ("y", scan.ycoords)):
            file[f"entry/stage/{axis}"] = at * 0.02


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_page_does_what_it_says(line: str, files: None, foreign: Path) -> None:
    _, *words = shlex.split(line)
    assert main(words) in (0, 3)
    if words[0] == "reconstruct" and words[1] != "scan.cxi":
        (run,) = [*Path("reconstructions").glob("*"), *Path().glob("known")]
        truth = {"cdtools": "cdtools", "cube4d": "cube", "sample": "moon", "raw": "pd"}[
            words[1].partition(".")[0]
        ]
        with np.load(run / "reconstruction.npz") as found, np.load(foreign / f"{truth}_truth.npz") as known:
            assert phase_agreement(found["object"], known["object"]) >= 0.9
