"""A command asks once: each file of settings is opened once, and each section is resolved once."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptycho.config import resolve as mechanism
from ptycho.config import rules
from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from tests.torch.factory_calls import save_model, save_scan

Run = Callable[..., tuple[int, str, str]]


class Watched:
    """What was opened, and what was resolved, while this is in force."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.resolved: Counter[str] = Counter()
        self.in_force = True


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    seen, real = Watched(), mechanism.resolve

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if seen.in_force and event == "open" and isinstance(arguments[0], str):
            seen.opened[Path(arguments[0]).name] += 1

    def resolve(cls: type, *rest: Any) -> Any:
        seen.resolved[cls.__name__] += 1
        return real(cls, *rest)

    for module in [one for name, one in sys.modules.items() if name.startswith("ptycho")]:
        if vars(module).get("resolve") is real:
            monkeypatch.setattr(module, "resolve", resolve)
    sys.addaudithook(audit)  # there is no way to remove one
    yield seen
    seen.in_force = False


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("site.toml", 1), ("mine.toml", 2), ("own.toml", 3)):
        Path(name).write_text(
            f"[execution]\nseed = {seed}\n[training]\nn_groups = 8\n[inference]\nn_groups = 8\n"
        )
    monkeypatch.setenv("PTYCHO_CONFIG", "site.toml")


SETTINGS = ("--config", "mine.toml", "--recipe", "own.toml")
NAMED = ("site.toml", "mine.toml", "own.toml")


@pytest.mark.parametrize(
    ("words", "sections"),
    [
        (["config", "show", "train"], ["ModelConfig", "TrainingConfig"]),
        (["config", "show", "train", "scan.npz"], ["ModelConfig", "TrainingConfig"]),
        (["config", "show", "reconstruct"], ["SolverConfig"]),
        (["config", "show", "reconstruct", "scan.npz"], ["SolverConfig"]),
        (["config", "show", "reconstruct", "model"], ["InferenceConfig", "ModelConfig"]),
        (["reconstruct", "scan.npz", "--accelerator=tpu"], ["SolverConfig"]),
        (
            ["config", "show", "reconstruct", "model", "scan.npz"],
            ["InferenceConfig", "ModelConfig", "TrainingConfig"],  # the last one as the model was trained
        ),
        (["train", "scan.npz", "--accelerator=tpu"], ["ModelConfig", "TrainingConfig"]),
        (
            ["reconstruct", "model", "scan.npz", "--accelerator=tpu"],
            ["InferenceConfig", "ModelConfig", "TrainingConfig"],
        ),
    ],
)
def test_each_file_is_opened_once_and_each_section_resolved_once(
    words: list[str], sections: list[str], ptycho: Run, watched: Watched
) -> None:
    save_scan(Path("scan.npz"))
    save_model(Path("model"), N=64)
    code, _, said = ptycho(*words, *SETTINGS)
    assert (code, "tpu" in said) == ((2, True) if "--accelerator=tpu" in words else (0, False)), said
    assert {name: watched.opened[name] for name in NAMED} == dict.fromkeys(NAMED, 1)
    assert watched.resolved == dict.fromkeys([*sections, "DataConfig", "PyTorchExecutionConfig"], 1)


@pytest.mark.integration
def test_a_whole_run_reads_them_once_as_well(ptycho: Run, scan: Path, watched: Watched) -> None:
    short = (
        "--nepochs=1",
        "--n-unrolled-steps=1",
        "--n-filters-scale=1",
        "--accelerator=cpu",
        "--batch-size=4",
    )
    assert ptycho("train", scan, *SETTINGS, *short, "--output-dir=run")[0] in (0, 3)
    assert {name: watched.opened[name] for name in NAMED} == dict.fromkeys(NAMED, 1)
    sections = ("ModelConfig", "TrainingConfig", "DataConfig", "PyTorchExecutionConfig")
    assert watched.resolved == dict.fromkeys(sections, 1)
    watched.opened.clear()
    watched.resolved.clear()
    assert ptycho("reconstruct", "run", scan, *SETTINGS, "--accelerator=cpu")[0] in (0, 3)
    assert {name: watched.opened[name] for name in NAMED} == dict.fromkeys(NAMED, 1)
    assert set(watched.resolved.values()) == {1}


@pytest.mark.integration
def test_the_settings_of_a_run_that_goes_on_are_shown_from_one_look_at_its_record_without_torch(
    ptycho: Run, scan: Path, trained: Path
) -> None:
    few = ("--n-iterations=2", "--accelerator=cpu", "--output-dir=solved")
    assert ptycho("reconstruct", scan, *few)[0] in (0, 3)
    script = (
        "import sys; from ptycho_torch.cli.main import main; opened = []\n"
        "sys.addaudithook(lambda event, told: event == 'open' and opened.append(str(told[0])))\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert sum(path.endswith('config.json') for path in opened) == 1, opened\n"
        "assert not {'torch', 'lightning'} & sys.modules.keys()\n"
    )
    for of, run in (("train", trained), ("reconstruct", Path("solved"))):
        words = ("config", "show", of, "--resume", run, "--preview-every=1")
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert (done.returncode, "--preview-every" in done.stdout) == (0, True), done.stderr


def test_a_check_resolves_each_section_once(ptycho: Run, watched: Watched) -> None:
    code, _, said = ptycho("config", "check", "mine.toml", "--recipe", "own.toml")
    assert code == 0, said
    assert len(watched.resolved) == 6
    assert set(watched.resolved.values()) == {1}
    assert {name: watched.opened[name] for name in NAMED} == dict.fromkeys(NAMED, 1)


def test_what_does_not_go_with_the_execution_settings_is_found_in_a_training() -> None:
    knobs, *others = (
        {*section_of(cls).fields} for cls in (PyTorchExecutionConfig, ModelConfig, TrainingConfig)
    )
    of_knobs = [set(names) for names in rules._RULES if knobs.intersection(names)]
    assert of_knobs
    assert all(names <= knobs.union(*others) for names in of_knobs)


REFUSED = (
    *("train nowhere.npz", "train a.npz --nepochs=x", "train --resume nowhere", "train --resume ."),
    *("reconstruct nowhere nowhere.npz", "reconstruct nowhere.npz", "reconstruct --resume nowhere"),
    *("config show train --resume nowhere", "config show reconstruct --resume nowhere"),
)


def test_wrong_words_and_missing_data_are_refused_without_torch() -> None:
    script = (
        "import sys; from ptycho_torch.cli.main import main\n"
        f"for line in {REFUSED}:\n"
        "    assert main(line.split()) == 2, line\n"
        "    assert not {'torch', 'lightning'} & sys.modules.keys(), line\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
