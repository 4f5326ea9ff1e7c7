"""Several files of settings on one command line; and any other flag given twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import told


@pytest.fixture
def origins(ptycho: Any) -> Any:
    """What `config show train` tells of every setting."""

    def show(*words: object) -> dict[str, Any]:
        code, out, err = ptycho("config", "show", "train", *words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)["origins"]

    return show


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text("[training]\nnepochs = 7\n[execution]\nseed = 1\nnum_workers = 2\n")
    Path("mine.yaml").write_text("execution:\n  seed: 3\n")
    Path("flat.json").write_text('{"seed": 4}\n')


def test_a_repeated_config_composes_and_the_last_file_is_strongest(origins: Any):
    found = origins("--config", "site.toml", "--config=mine.yaml", "--config", "flat.json")
    seed = found["execution.seed"]
    assert (seed["value"], seed["locator"]) == (4, "flat.json:1")
    assert [loser["locator"] for loser in seed["shadowed"]] == ["mine.yaml:2", "site.toml:4"]
    assert (found["training.nepochs"]["value"], found["execution.num_workers"]["value"]) == (7, 2)


def test_the_recipe_goes_with_what_any_of_the_files_asks_for(origins: Any):
    Path("grid.toml").write_text("[model]\ngridsize = 4\n")
    assert origins("--config", "grid.toml", "--config", "site.toml")["training.neighbor_count"]["value"] == 15


def test_the_files_of_the_variable_are_below_those_of_the_line(origins: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PTYCHO_CONFIG", "site.toml:mine.yaml")
    assert origins()["execution.seed"]["locator"] == "mine.yaml:2"
    assert origins("--config", "flat.json")["execution.seed"]["locator"] == "flat.json:1"
    monkeypatch.setenv("PTYCHO_EXEC_SEED", "8")
    assert origins("--config", "flat.json")["execution.seed"]["value"] == 8


def test_a_resumed_run_reads_no_file_of_the_variable(
    trained: Path, ptycho: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PTYCHO_CONFIG", "absent.toml")
    code, out, err = ptycho("config", "show", "train", "--resume", trained, "--nepochs", 9, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["origins"]["training.nepochs"]["value"] == 9
    assert ptycho("config", "check", trained)[0] == 0
    code, _, err = ptycho("config", "check")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("ptycho config: PTYCHO_CONFIG: absent.toml: ")


def test_a_wrong_value_in_a_losing_file_is_reported(ptycho: Any):
    Path("site.toml").write_text("[execution]\nseed = -1\n")
    code, _, err = ptycho("train", "scan.npz", "--config", "site.toml", "--config", "mine.yaml")
    assert code == 2
    assert ("seed", "site.toml:2") in told(err)


def test_data_may_stand_in_any_of_the_files(ptycho: Any):
    Path("data.toml").write_text("[training]\ntrain_data_file = 'nowhere.npz'\n")
    code, _, err = ptycho("train", "--config", "data.toml", "--config", "site.toml")
    assert code == 2
    assert "Training data file not found (data.toml:2): " in err
    code, _, err = ptycho("train", "--config", "absent.toml", "--config", "site.toml")
    assert (code, told(err)) == (2, [("absent.toml",)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "1", "--seed=2"], "--seed: given twice, as --seed 1 and as --seed=2."),
        (["--num_workers=1", "--num-workers", "1"], "as --num-workers=1 and as --num-workers 1."),
        (
            ["--devices", "1", "--n-devices", "2"],
            "--n-devices: given twice, as --devices 1 and as --n-devices 2.",
        ),
        (
            ["--pin-memory", "--no-pin-memory"],
            "--pin-memory: given twice, as --pin-memory and as --no-pin-memory.",
        ),
        (["--quiet", "--quiet"], "--quiet: given twice, as --quiet and as --quiet."),
    ],
)
def test_any_other_flag_given_twice_is_refused_with_all_else(words: list[str], said: str, ptycho: Any):
    code, _, err = ptycho("train", "scan.npz", *words, "--accum-steps", 0)
    assert code == 2
    assert said in err
    assert ("accum_steps", "flag --accum-steps") in told(err)


def test_the_other_commands_refuse_it_too(ptycho: Any):
    code, _, err = ptycho("simulate", "--output", "a.npz", "--output", "b.npz")
    assert code == 2
    assert err.startswith("ptycho simulate: --output: given twice, as --output a.npz and as --output b.npz.")
    assert not Path("b.npz").exists()


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("simulate --N 32 --n-positions 20 --output", "--output"),
        ("train --resume", "--resume"),
        ("reconstruct --resume", "--resume"),
        ("config show train --resume", "--resume"),
        ("config init --recipe", "--recipe"),
        ("config check --recipe", "--recipe"),
        ("config show train --config", "--config"),
    ],
)
def test_home_and_variables_are_replaced_in_every_flag_that_is_a_path(
    words: str, flag: str, ptycho: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    for written, meant in (("~/a.npz", "home"), ("$SCRATCH/a.npz", "scratch")):
        code, out, err = ptycho(*words.split(), written)
        assert code == (0 if "simulate" in words else 2)
        assert f"{meant}/a.npz: " in out + err
    assert told(ptycho(*words.split(), "$GONE/a.npz")[2]) == [(flag,)]
    assert not {"~", "$SCRATCH", "$GONE"} & {path.name for path in tmp_path.iterdir()}


def test_what_follows_two_dashes_is_no_flag(ptycho: Any):
    code, _, err = ptycho("config", "check", "--strict", "--", "--strict")
    assert code == 2
    assert "given twice" not in err


@pytest.mark.parametrize("words", ["import a.npz", "inspect a.npz", "report a", "compare a b"])
def test_a_variable_that_is_not_set_is_refused_in_every_output(words: str, ptycho: Any):
    code, _, err = ptycho(*words.split(), "--output", "$GONE/a")
    assert (code, told(err)) == (2, [("--output",)])
