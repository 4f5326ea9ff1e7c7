"""Saved settings stay what they are, whatever the environment becomes."""

import json
import os
import pickle
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pydantic import BaseModel, TypeAdapter

import ptycho.params
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, UnknownVariableWarning
from tests.properties.fields import KNOBS
from tests.properties.written import Said, examples, statements

DEFAULTS = PyTorchExecutionConfig().to_dict()
some_knobs = st.fixed_dictionaries(
    {"num_workers": st.integers(1, 64)},
    optional={name: knob.valid for name, knob in KNOBS.items() if name != "num_workers"},
)
names = st.sampled_from(tuple(KNOBS))


class Holder(BaseModel):
    execution: PyTorchExecutionConfig


def said_in_environment(name: str) -> st.SearchStrategy[tuple[str, Said]]:
    return statements(name, "environment", "toml", True).map(lambda said: (name, said))


class ChangingEnvironment(RuleBasedStateMachine):
    """Settings are saved, variables come and go, and what was saved is loaded in every way there is."""

    saved = Bundle("saved")

    def __init__(self) -> None:
        super().__init__()
        self.found = dict(os.environ)
        self.legacy = dict(ptycho.params.cfg)
        self.variables: dict[str, Said] = {}

    def teardown(self) -> None:
        os.environ.clear()
        os.environ.update(self.found)

    @initialize(target=saved)
    def save_nothing(self) -> dict[str, Any]:
        return {}

    @rule(target=saved, values=some_knobs)
    def save(self, values: dict[str, Any]) -> dict[str, Any]:
        snapshot = PyTorchExecutionConfig.from_snapshot(values).to_snapshot()
        assert json.loads(json.dumps(snapshot)) == snapshot
        return snapshot

    @rule(target=saved, values=some_knobs)
    def save_by_a_version_that_knew_less(self, values: dict[str, Any]) -> dict[str, Any]:
        return values

    @rule(setting=names.flatmap(said_in_environment))
    def set_variable(self, setting: tuple[str, Said]) -> None:
        name, self.variables[setting[0]] = setting
        os.environ[f"PTYCHO_EXEC_{name.upper()}"] = self.variables[name].written

    @rule(name=st.sampled_from(["NUM_WORKER", "SECRET_OF_SOMEBODY", "SEEDS"]))
    def set_foreign_variable(self, name: str) -> None:
        os.environ[f"PTYCHO_EXEC_{name}"] = "4"

    @rule()
    def clear(self) -> None:
        self.teardown()
        self.variables.clear()

    @rule(snapshot=saved)
    def load(self, snapshot: dict[str, Any]) -> None:
        expected = DEFAULTS | {name: value for name, value in snapshot.items() if name in KNOBS}
        config = PyTorchExecutionConfig.from_snapshot(snapshot)
        again = [
            PyTorchExecutionConfig.model_validate(config.to_dict()),
            PyTorchExecutionConfig.model_validate_json(json.dumps(config.to_dict())),
            TypeAdapter(PyTorchExecutionConfig).validate_python(config.to_dict()),
            Holder.model_validate({"execution": config.to_dict()}).execution,
            pickle.loads(pickle.dumps(config)),
            config.replace(),
            config.model_copy(),
        ]
        assert config.to_dict() == expected
        assert all(loaded == config for loaded in again)
        assert {origin.kind for origin in config.sources.values()} <= {"argument", "default"}

    @rule()
    def construct(self) -> None:
        """Construction does look at the environment: the same variables that loading must not see."""
        wrong = {name for name, said in self.variables.items() if not said.is_right}
        misspelt = {f"PTYCHO_EXEC_{name}" for name in ("NUM_WORKER", "SEEDS")} & os.environ.keys()
        culprits: set[str] = set()
        try:
            values = PyTorchExecutionConfig(num_workers=1).to_dict()
        except ConfigError as error:
            culprits = {failure.name for failure in error.failures}
        assert culprits == wrong | misspelt
        if not culprits:
            told = {name: said.value for name, said in self.variables.items() if not said.is_blank}
            assert values == DEFAULTS | told | {"num_workers": 1}

    @invariant()
    def execution_settings_stay_out_of_the_legacy_dictionary(self) -> None:
        assert self.legacy == ptycho.params.cfg


@pytest.mark.filterwarnings(f"ignore::{UnknownVariableWarning.__module__}.UnknownVariableWarning")
class TestChangingEnvironment(ChangingEnvironment.TestCase):
    """Runs the machine above."""

    settings = settings(examples(0.3), stateful_step_count=15)
