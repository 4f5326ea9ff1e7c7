"""Paths in the record of a run: from the root, with the text as written, where and how the run was started."""

import json
import os
import sys
from pathlib import Path

import pytest

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Request
from ptycho_torch.config_factory import training_payload
from ptycho_torch.runs.changes import differences
from ptycho_torch.runs.record import write_configuration
from tests.legacy_dictionary import legacy_dictionary_restored


def test_the_record_holds_paths_from_the_root_and_the_text_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    Path("site").mkdir()
    Path("site/run.toml").write_text("[training]\ntrain_data_file = 'scan.npz'\noutput_dir = '~/runs'\n")
    request = Request(
        [ModelConfig, TrainingConfig, PyTorchExecutionConfig],
        file="site/run.toml",
        flags={"output_dir": "$SCRATCH/x"},
        overrides={"test_data_file": "test.npz"},
    )
    with legacy_dictionary_restored():
        payload = training_payload(request.answer())
    config, execution = payload.tf_training_config, payload.execution_config
    write_configuration(
        tmp_path, config, execution, payload.sources, payload.overrides_applied, {"resumed": []}
    )
    path = tmp_path / "config.json"
    record = json.loads(path.read_text())
    assert record["working_directory"] == os.getcwd()
    assert record["command_line"] == sys.argv
    expected = {
        "train_data_file": (f"{tmp_path}/site/scan.npz", "train_data_file = 'scan.npz'"),
        "test_data_file": (f"{tmp_path}/test.npz", "test.npz"),
        "output_dir": (f"{tmp_path}/scratch/x", "$SCRATCH/x"),
    }
    for name, (place, written) in expected.items():
        origin = record["origins"][f"training.{name}"]
        assert (record["configuration"][name], origin["value"], origin["raw"]) == (place, place, written)
        assert record["overrides_applied"][name] == origin
    beaten = record["origins"]["training.output_dir"]["shadowed"][0]
    assert (beaten["value"], beaten["raw"]) == (os.path.expanduser("~/runs"), "output_dir = '~/runs'")

    assert dict(differences(record, payload)) == {}
    monkeypatch.chdir("/")
    saved = Request.of_record(record, str(path)).answer()[TrainingConfig]
    assert str(saved.test_data_file) == f"{tmp_path}/test.npz"
