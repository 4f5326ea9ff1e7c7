"""`ptycho completion`: what the shells offer."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.cli.commands import ACTIONS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["compl"], {"completion"}),
        (["train", "--num-w"], {"--num-workers"}),
        (["train", "--accelerator", "c"], {"cpu", "cuda"}),
        (["train", "--recipe", ""], {"best", "demo", "fast", "standard", "none"}),
        (["config", "sh"], {"show"}),
        (["config", "show", "reconstruct", "--middle"], {"--middle-trim"}),
        (["completion", "f"], {"fish"}),
    ],
)
def test_bash_completes(ptycho: Run, typed: list[str], offered: set[str]) -> None:
    Path("completion.sh").write_text(ptycho("completion", "bash")[1])
    words = shlex.join(["ptycho", *typed])
    script = (
        f"source ./completion.sh; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; "
        '_shtab_ptycho; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


def test_zsh_offers_the_actions_of_config_and_nothing_else(ptycho: Run) -> None:
    script = ptycho("completion", "zsh")[1]
    offered = script.partition("_shtab_ptycho_config_commands() {")[2].partition("}")[0]
    assert re.findall(r"^    (\w+):'", offered, re.MULTILINE) == sorted(ACTIONS)
    shown = script.partition("_shtab_ptycho_config_show_commands() {")[2].partition("}")[0]
    assert re.findall(r"^    (\w+):'", shown, re.MULTILINE) == ["reconstruct", "train"]


def test_fish_and_zsh_scripts_name_every_flag(ptycho: Run) -> None:
    zsh, fish = (ptycho("completion", shell)[1] for shell in ("zsh", "fish"))
    for name in PyTorchExecutionConfig.model_fields:
        flag = name.replace("_", "-")
        assert f"--{flag}" in zsh
        assert re.search(rf"^complete -c ptycho -n '\w+ train' -l {flag} ", fish, re.MULTILINE)


def test_fish_completes_words_and_paths(ptycho: Run) -> None:
    fish = ptycho("completion", "fish")[1]
    assert re.search(r"train' -l accelerator \S+ \"auto cpu gpu cuda mps tpu\" ", fish)
    assert re.search(r"train' -l config \S+ \"\(__fish_complete_path", fish)
    assert re.search(r"train' -l batch-size -x -d 'Groups in one step on one device\.", fish)
    assert re.search(r"config check[^\n]*__fish_complete_path", fish)


def test_completion_needs_a_shell(ptycho: Run) -> None:
    assert ptycho("completion")[::2] == (
        2,
        "ptycho completion: expected a shell (bash, zsh, fish); got none. Name yours.\n",
    )
    assert ptycho("completion", "csh")[::2] == (
        2,
        "ptycho completion: csh: no such shell. Did you mean zsh?\n",
    )
