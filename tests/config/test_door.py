"""`ptycho.config.config`: every name is there, and loads when it is asked for."""

import copy
import pickle
import subprocess
import sys

import pytest

from ptycho.config import canonical, config, execution, legacy, solver


def test_every_public_name_is_the_one_of_its_home():
    homes = {**vars(canonical), **vars(legacy), **vars(execution), **vars(solver)}
    assert {name: getattr(config, name) for name in config.__all__} == {n: homes[n] for n in config.__all__}
    assert set(config.__all__) <= set(dir(config))


def test_configurations_loaded_through_the_door_are_pickled():
    for name in (
        "ModelConfig",
        "TrainingConfig",
        "InferenceConfig",
        "SolverConfig",
        "PyTorchExecutionConfig",
    ):
        made = getattr(config, name)()
        assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


def test_a_name_that_is_not_there_is_refused_as_python_does():
    with pytest.raises(AttributeError, match=r"^module '.*' has no attribute 'Trainer'$"):
        config.Trainer  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Trainer'"):
        from ptycho.config.config import Trainer  # noqa: F401


@pytest.mark.parametrize(
    ("asked_for", "loaded"),
    [
        ("import ptycho.config.config", "[]"),
        ("from ptycho.config.config import PyTorchExecutionConfig", "['pydantic']"),
        ("from ptycho.config.config import TrainingConfig", "['ptycho.config.canonical', 'pydantic']"),
        ("from ptycho.config.config import *", "['ptycho.config.canonical', 'pydantic']"),
    ],
)
def test_a_name_loads_when_it_is_asked_for(asked_for: str, loaded: str):
    looked_for = ("ptycho.config.canonical", "ptycho.config.files", "pydantic", "yaml")
    code = f"import sys; {asked_for}; print(sorted(set({looked_for}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded
