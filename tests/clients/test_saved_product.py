"""A reconstruction saved as a product, in the hands of the real ptychodus."""

from pathlib import Path

import numpy as np
from ptychodus.api.io import load_product

from ptycho.geometry import Geometry
from ptycho_torch.runs.exports import write_product
from ptycho_torch.runs.product import Product

LENGTHS = {"energy_eV": 8000.0, "distance_m": 2.0, "detector_pixel_size_m": [1e-4, 0.5e-4]}


def test_ptychodus_reads_a_saved_product_and_puts_its_positions_where_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    saved = Product(
        name="a scan",
        object=np.exp(1j * rng.uniform(-1, 1, (40, 56))).astype(np.complex64),
        coverage=np.ones((40, 56), np.float32),
        corner_px=(-3, 7),
        probe=rng.normal(size=(2, 32, 32)).astype(np.complex64),
        positions_px=rng.uniform(13, 20, (9, 2)),
        rows=np.arange(9) * 2,
        intensities=rng.uniform(0.9, 1.1, 9),
        geometry=Geometry.of(LENGTHS, 32),
    )
    write_product(tmp_path, saved)
    product = load_product(tmp_path / "reconstruction.h5")
    np.testing.assert_array_equal(product.object_.get_array()[0], saved.object)
    np.testing.assert_array_equal(product.probes.get_array()[0], saved.probe)
    assert product.metadata.photon_energy_eV == np.float64(saved.geometry.energy_eV)
    assert product.metadata.far_field
    frame = product.object_.get_geometry()
    places = [frame.map_coordinates_probe_to_object(point) for point in product.probe_positions]
    assert [int(place.index) for place in places] == saved.rows.tolist()
    found = np.array([(place.y_px, place.x_px) for place in places])
    np.testing.assert_allclose(found, saved.positions_px - saved.corner_px - 0.5)  # a pixel is centred there
