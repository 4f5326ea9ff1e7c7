"""The factory of a reconstruction without a network: who wins, what is refused, what is recorded."""

import json
from pathlib import Path

import pytest

from ptycho import params
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Request
from ptycho.config.solver import SolverConfig
from ptycho_torch.config_solver import create_solver_payload
from tests.refusals import message
from tests.torch.factory_calls import save_scan


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.npz")


def test_a_payload_is_complete_and_leaves_the_legacy_dictionary_alone(scan: Path, tmp_path: Path) -> None:
    before = dict(params.cfg)
    payload = create_solver_payload(scan, tmp_path / "out", {"n_iterations": 7, "num_threads": 2})
    assert payload.solver_config == SolverConfig(data_file=scan, output_dir=tmp_path / "out", n_iterations=7)
    assert payload.execution_config.num_threads == 2
    assert params.cfg == before


def test_the_stronger_level_wins_and_keeps_what_it_beat(scan: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[solver]\nn_iterations = 3\nprior = 'tv'\nloss = 'poisson'\n[execution]\nseed = 4\n")
    payload = create_solver_payload(
        scan,
        None,
        {"n_iterations": 9},
        flags={"prior": "none"},
        file=file,
        cli_defaults={"output_dir": str(tmp_path / "stated"), "loss": "amplitude"},
    )
    config = payload.solver_config
    assert (config.n_iterations, config.prior, config.loss) == (9, "none", "poisson")
    assert (config.output_dir, payload.execution_config.seed) == (tmp_path / "stated", 4)
    assert [beaten.value for beaten in payload.sources["solver.n_iterations"].shadowed] == [3]
    assert json.dumps(payload.overrides_applied)
    assert payload.overrides_applied["prior"]["locator"] == "--prior"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = message(
        lambda: create_solver_payload(
            tmp_path / "none.npz", None, {"holdout": 1, "num_threads": -1, "lerning_rate": 1}
        )
    )
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "lerning_rate",
        "solver.holdout",
        "num_threads",
        "Scan file not found",
    ]


def test_settings_that_do_not_go_together_are_refused(scan: Path) -> None:
    wrong = {"refine_positions": True, "positions_from": 30, "n_iterations": 30}
    assert message(lambda: create_solver_payload(scan, "out", wrong)) == (
        "solver.positions_from: 30 (override) needs n_iterations > 30; n_iterations is 30 (override). Begin earlier, "
        "or raise n_iterations."
    )
    create_solver_payload(scan, "out", wrong | {"refine_positions": False})
    create_solver_payload(scan, "out", wrong | {"n_iterations": "auto"})


def test_a_place_that_is_given_twice_is_refused(scan: Path) -> None:
    text = message(lambda: create_solver_payload(scan, "out", {"data_file": "other.npz"}))
    assert text.startswith("solver.data_file: given twice")


def test_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^Scan file not found: .*None"):
        create_solver_payload(None, tmp_path)
    with pytest.raises(FileNotFoundError, match="Scan file not found"):
        create_solver_payload(tmp_path / "none.npz", tmp_path)


def test_a_ready_execution_configuration_is_taken(scan: Path) -> None:
    ready = PyTorchExecutionConfig(seed=5)
    assert create_solver_payload(scan, "out", execution_config=ready).execution_config is ready
    assert create_solver_payload(scan, "out", {"seed": 6}, ready).execution_config.seed == 6


def test_levels_beside_a_request_are_refused(scan: Path) -> None:
    asked = Request([SolverConfig, PyTorchExecutionConfig])
    found = message(
        lambda: create_solver_payload(scan, None, {"n_iterations": 3}, recipe="best", request=asked)
    )
    assert found.startswith("request: expected without overrides, recipe")
