import json

import h5py
import numpy as np
import pytest

from ptycho.raw_data import DataError, RawData, load_scans

PIXEL_M = (4e-9, 5e-9)
ENERGY_J = 1.5e-15
DISTANCE_M = 2.0
DETECTOR_PIXEL_M = (75e-6, 60e-6)


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(30, (5, 8, 8)).astype(np.uint16)


def write_product(folder, counts, indexes=(3, 1, 2, 0, 7), measured=(0, 1, 2, 3, 7), bad=None):
    """A product whose position with index i lies at row 20 + i, column 30 - i, and its diffraction.h5."""
    indexes, measured = np.array(indexes), np.array(measured)
    with h5py.File(folder / "product.h5", "w") as file:
        file.attrs["probe_photon_count"] = 5000.0
        file["probe_position_indexes"] = indexes
        object_ = file.create_dataset("object", data=np.ones((1, 41, 61), complex))
        object_.attrs.update(
            {
                "pixel_height_m": PIXEL_M[0],
                "pixel_width_m": PIXEL_M[1],
                "center_y_m": 1e-6,
                "center_x_m": -2e-6,
            }
        )
        file["probe_position_y_m"] = 1e-6 + indexes * PIXEL_M[0]
        file["probe_position_x_m"] = -2e-6 - indexes * PIXEL_M[1]
        file["probe"] = np.ones((1, 2, 8, 8), complex)
    with h5py.File(folder / "diffraction.h5", "w") as file:
        file["patterns"] = counts
        file["indexes"] = measured
        file["bad_pixels"] = np.zeros((8, 8), bool) if bad is None else bad
    return folder / "product.h5"


def write_cxi(path, counts, **changes):
    """A CXI file of a scan whose sample moves down and left; `changes` replace datasets, None drops one."""
    datasets = {
        "entry_1/data_1/data": counts,
        "entry_1/sample_1/geometry_1/translation": np.array(
            [[2.0, 1, 0], [4, 1, 0], [6, 2, 0], [8, 2, 0], [8, 3, 0]]
        )
        * 1e-6,
        "entry_1/instrument_1/source_1/energy": ENERGY_J,
        "entry_1/instrument_1/source_1/illumination": np.ones((8, 8), complex),
        "entry_1/instrument_1/detector_1/distance": DISTANCE_M,
        "entry_1/instrument_1/detector_1/y_pixel_size": DETECTOR_PIXEL_M[0],
        "entry_1/instrument_1/detector_1/x_pixel_size": DETECTOR_PIXEL_M[1],
    }
    found = {name.rsplit("/", 1)[1]: name for name in datasets}
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            value = changes.get(name.rsplit("/", 1)[1], value)
            if value is not None:
                file[name] = value
        for name in set(changes) - set(found):
            file[f"entry_1/instrument_1/detector_1/{name}"] = changes[name]
    return path


def test_a_product_joins_positions_and_patterns_by_their_index(tmp_path, counts):
    (scan,) = load_scans(write_product(tmp_path, counts))
    np.testing.assert_allclose(scan.positions_px, [[20 + i, 30 - i] for i in (3, 1, 2, 0, 7)])
    np.testing.assert_array_equal(scan.patterns, counts[[3, 1, 2, 0, 4]])
    assert scan.domain == "intensity"
    assert scan.probe.shape == (2, 8, 8)
    assert scan.object_guess.shape == (41, 61)
    assert scan.nphotons == 5000
    np.testing.assert_allclose(scan.metadata["object_pixel_size_m"], PIXEL_M)


def test_positions_without_pattern_are_left_out(tmp_path, counts):
    (scan,) = load_scans(write_product(tmp_path, counts, indexes=(9, 7, 0), measured=(0, 1, 2, 3, 7)))
    np.testing.assert_allclose(scan.positions_px[:, 0], [27, 20])
    np.testing.assert_array_equal(scan.patterns, counts[[4, 0]])


def test_bad_pixels_of_a_product_mean_nothing_and_become_zero(tmp_path, counts):
    bad = np.zeros((8, 8), bool)
    bad[2, 3] = True
    patterns = counts.astype(np.int32)
    patterns[:, 2, 3] = -1
    (scan,) = load_scans(write_product(tmp_path, patterns, bad=bad))
    assert not scan.patterns[:, 2, 3].any()
    np.testing.assert_array_equal(scan.bad_pixels, bad)


def test_a_product_without_diffraction_data_says_where_it_belongs(tmp_path, counts):
    path = write_product(tmp_path, counts)
    (tmp_path / "diffraction.h5").unlink()
    with pytest.raises(
        DataError,
        match=r"patterns: expected diffraction patterns.*diffraction\.h5, copy that into the folder of this file",
    ):
        load_scans(path)


def test_the_diffraction_file_finds_the_product_beside_it(tmp_path, counts):
    product = write_product(tmp_path, counts)
    (one,), (other,) = load_scans(product), load_scans(tmp_path / "diffraction.h5")
    np.testing.assert_array_equal(one.positions_px, other.positions_px)
    np.testing.assert_array_equal(one.patterns, other.patterns)


def test_the_diffraction_file_alone_lacks_positions(tmp_path, counts):
    write_product(tmp_path, counts).unlink()
    with pytest.raises(DataError, match=r"positions: .*got none .*product\.h5, copy that into"):
        load_scans(tmp_path / "diffraction.h5")


def test_product_and_diffraction_data_of_different_scans_are_refused(tmp_path, counts):
    path = write_product(tmp_path, counts, measured=(10, 11, 12, 13, 14))
    with pytest.raises(DataError, match=r"indexes: .*got none"):
        load_scans(path)


def test_a_product_without_pixel_size_is_refused(tmp_path, counts):
    path = write_product(tmp_path, counts)
    with h5py.File(path, "a") as file:
        del file["object"].attrs["pixel_width_m"]
    with pytest.raises(DataError, match=r"object attribute pixel_width_m: .*got nothing"):
        load_scans(path)


def test_cxi_metres_become_object_pixels_along_rows_and_columns(tmp_path, counts):
    scan = RawData.from_file(write_cxi(tmp_path / "scan.cxi", counts))
    wavelength_m = 6.62607015e-34 * 299792458 / ENERGY_J
    pixel_y, pixel_x = (wavelength_m * DISTANCE_M / (8 * size) for size in DETECTOR_PIXEL_M)
    rows = 4 + np.array([0, 0, 1, 1, 2]) * 1e-6 / pixel_y
    columns = 4 + np.array([0, 2, 4, 6, 6]) * 1e-6 / pixel_x
    np.testing.assert_allclose(scan.positions_px, np.stack([rows, columns], axis=1))
    np.testing.assert_array_equal(scan.patterns, counts)
    assert scan.domain == "intensity"


def test_cxi_basis_vectors_orient_the_positions(tmp_path, counts):
    default = RawData.from_file(write_cxi(tmp_path / "a.cxi", counts)).positions_px
    basis = np.array([[0, 75e-6, 0], [-60e-6, 0, 0]])
    turned = RawData.from_file(write_cxi(tmp_path / "b.cxi", counts, basis_vectors=basis)).positions_px
    np.testing.assert_allclose(turned[:, 1], default[:, 1])
    np.testing.assert_allclose(turned[:, 0] - turned[0, 0], default[0, 0] - default[:, 0])


def test_masked_cxi_pixels_are_bad_and_zero(tmp_path, counts):
    mask = np.zeros((8, 8), np.uint32)
    mask[0, 1] = 4
    scan = RawData.from_file(write_cxi(tmp_path / "scan.cxi", counts, mask=mask))
    np.testing.assert_array_equal(scan.bad_pixels, mask > 0)
    assert not scan.patterns[:, 0, 1].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, r"patterns: .*got none \(the file holds /entry_1/"),
        ({"energy": 9000.0}, r"energy: .*got 9000 .*set --energy '9000 eV'"),
        ({"distance": 0.0}, r"distance: .*got 0"),
        ({"distance": -2.0}, r"distance: .*got -2"),
        ({"energy": np.nan}, r"energy: .*got nan"),
        ({"x_pixel_size": -75e-6}, r"x_pixel_size: expected one finite number > 0"),
        (
            {"translation": np.zeros((5, 3), complex)},
            r"translation: .*got dtype complex128",
        ),
        (
            {"translation": np.zeros(5)},
            r"translation: .*got shape \(5,\)",
        ),
        (
            {"translation": np.zeros((4, 3))},
            r"translation: .*got shape \(4, 3\)",
        ),
        ({"data": np.zeros((5, 8, 8))}, r"data: .*got no value above 0"),
        (
            {"illumination": np.ones((4, 4), complex)},
            r"illumination: .*got shape \(4, 4\)",
        ),
        ({"basis_vectors": np.zeros((2, 3))}, r"basis_vectors: expected slow and fast axis"),
    ],
)
def test_a_faulty_cxi_file_is_named_with_its_dataset(tmp_path, counts, changes, message):
    path = write_cxi(tmp_path / "scan.cxi", counts, **changes)
    with pytest.raises(DataError, match=message) as caught:
        RawData.from_file(path)
    assert "scan.cxi" in str(caught.value)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "scan.cxi").write_text("no")
    with pytest.raises(DataError, match=r"scan file: .*got one that begins with"):
        load_scans(tmp_path / "scan.cxi")


def test_a_cxi_scan_can_be_kept_as_npz(tmp_path, counts):
    scan = RawData.from_file(write_cxi(tmp_path / "scan.cxi", counts))
    scan.to_file(tmp_path / "scan.npz")
    copy = RawData.from_file(tmp_path / "scan.npz")
    np.testing.assert_array_equal(copy.positions_px, scan.positions_px)
    np.testing.assert_array_equal(copy.probe, scan.probe)
    assert copy.domain == "intensity"
    assert json.dumps(copy.metadata)


def test_a_name_without_suffix_is_not_written(tmp_path, counts):
    scan = RawData.from_file(write_cxi(tmp_path / "scan.cxi", counts))
    with pytest.raises(DataError, match=r"got 'copy'"):
        scan.to_file(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
