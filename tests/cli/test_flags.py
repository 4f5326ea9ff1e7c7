"""The flags: generated from the fields, frozen in flags.txt."""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from ptycho_torch.cli.commands import COMMANDS, COMMON, spell
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.main import build_parser, main
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.cli.parser import FlagParser
from tests.refusals import told
from tests.test_house_rules import NOT_PLAIN, OF_CODE

FROZEN = Path(__file__).with_name("flags.txt")


def parsed(*words: str) -> dict[str, str]:
    return CommandLine.of(build_parser().parse_args(words)).flags


def command_parser(name: str) -> FlagParser:
    return next(parser for path, parser in build_parser().walk() if path == (name,))


def listed() -> str:
    """What may be written after every command, and after the commands within it."""
    lines = ""
    for path, parser in build_parser().walk():
        for action in parser._actions if path else ():
            if not isinstance(action, argparse._SubParsersAction):
                words = action.option_strings or [action.dest]
                lines += "".join(f"{' '.join(path)} {word}\n" for word in words if word != "-h")
    return lines


def test_the_flags_of_every_command_are_the_frozen_ones() -> None:
    assert listed() == FROZEN.read_text()


def test_every_knob_has_a_flag() -> None:
    assert {flag.name for flag in flags_of(PyTorchExecutionConfig)} == set(
        PyTorchExecutionConfig.model_fields
    )


def test_a_flag_that_was_not_passed_is_no_value() -> None:
    assert parsed("train", "scan.npz") == {}


def test_flags_are_handed_on_as_text() -> None:
    assert parsed("train", "--num-workers", "many", "--learning-rate=1e-4") == {
        "num_workers": "many",
        "learning_rate": "1e-4",
    }


@pytest.mark.parametrize("command", ["train", "reconstruct", "doctor"])
def test_every_flag_of_a_field_is_handed_on(command: str) -> None:
    sections = {"reconstruct": [InferenceConfig]}.get(command, [ModelConfig, TrainingConfig])
    fields = {name for section in sections for name in section_of(section).fields}
    knobs = set(PyTorchExecutionConfig.model_fields)
    for action in command_parser(command)._actions:
        if action.option_strings and action.dest in fields | knobs:
            words = [action.option_strings[0], *(["7"] if action.nargs != 0 else [])]
            assert parsed(command, *words).keys() == {action.dest}


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["model", "--overwrite", "scan.npz"], ("model", "scan.npz")),
        (["model", "--num-workers", "4", "scan.npz"], ("model", "scan.npz")),
        (["--num-workers=4", "model", "--overwrite", "--", "-scan.npz"], ("model", "-scan.npz")),
    ],
)
def test_flags_may_stand_between_places(words: list[str], places: tuple[str, str]) -> None:
    options = build_parser().parse_args(["reconstruct", *words])
    assert (options.model_path, options.test_data_file) == places


def test_two_dashes_may_be_a_value() -> None:
    assert parsed("train", "--scheduler=--") == {"scheduler": "--"}


@pytest.mark.parametrize("text", ["-1", "-1.5um", "-.5 um"])
def test_a_value_may_be_negative(text: str) -> None:
    assert parsed("train", "--defocus", text) == {"defocus": text}


def test_underscores_are_hyphens_in_names_and_stay_in_values() -> None:
    assert parsed("train", "--output_dir", "my_run", "--num_workers=4") == {
        "output_dir": "my_run",
        "num_workers": "4",
    }
    assert parsed("train", "--output_dir=my_run") == {"output_dir": "my_run"}


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("--pin-memory", "true"),
        ("--no-pin-memory", "false"),
        ("--pin-memory=false", "false"),
        ("--pin_memory=Yes", "true"),
        ("--pin-memory=maybe", "maybe"),
    ],
)
def test_a_switch_is_turned_on_and_off(word: str, text: str) -> None:
    assert parsed("train", word) == {"pin_memory": text}


@pytest.mark.parametrize(
    ("words", "text"), [(["--deterministic", "warn"], "warn"), (["--no-deterministic"], "false")]
)
def test_a_switch_with_a_third_state_takes_a_word(words: list[str], text: str) -> None:
    assert parsed("train", *words) == {"deterministic": text}


def full_help(parser: FlagParser) -> str:
    parser.show_all()
    return parser.format_help()


def test_help_gives_text_default_and_environment_variable() -> None:
    told = " ".join(full_help(command_parser("train")).split())
    assert re.search(
        r"--num-workers N Processes that load data.*?\[default: 0; env: PTYCHO_EXEC_NUM_WORKERS\]", told
    )
    assert re.search(r"--gridsize N Groups of .*?\[default: 2\]", told)
    assert "[one of: auto, ddp, ddp_spawn, " in told
    assert re.search(
        r"--n-positions N Number of scan positions\. \[default: 492\]",
        " ".join(command_parser("simulate").format_help().split()),
    )


def test_help_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for _, parser in build_parser().walk():
        for text in (parser.format_help(), full_help(parser)):
            assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_plain_words(command: str) -> None:
    told = full_help(command_parser(command))
    assert not [*NOT_PLAIN.findall(told), *OF_CODE.findall(told)]


@pytest.mark.parametrize("command", ["train", "reconstruct", "demo", "doctor"])
def test_help_shows_the_common_settings_and_full_help_all(command: str) -> None:
    parser = command_parser(command)
    flags = {word for action in parser._actions for word in action.option_strings if word[:2] == "--"}
    common = {spell(name) for name in COMMON[command]}
    assert common <= flags
    short, full = ({*re.findall(r"--[\w-]+", text)} for text in (parser.format_help(), full_help(parser)))
    assert flags <= full
    assert common <= short
    assert len(common) <= 12 < len(flags - short)


def test_the_name_of_a_command_after_help_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["help", "train"], ["train", "--help"], ["help"], [], ["--help"]):
        with pytest.raises(SystemExit) as leaving:
            main(words)
        assert leaving.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2] == shown[3] == shown[4] != ""


@pytest.mark.parametrize("words", [["config"], ["config", "show"]])
def test_a_command_of_commands_alone_shows_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ptycho {' '.join(words)} ")


def test_help_and_refusals_import_neither_torch_nor_lightning() -> None:
    shown = [[], ["--help"], ["--version"], ["train", "--help-all"], *([name, "--help"] for name in COMMANDS)]
    script = (
        "import sys; from ptycho_torch.cli.main import main\n"
        f"for words in {[*shown, ['train'], ['train', '--wrong']]}:\n"
        "    try:\n        code = main(words)\n"
        "    except SystemExit as leaving:\n        code = leaving.code\n"
        "    assert code == (2 if words in (['train'], ['train', '--wrong']) else 0), (words, code)\n"
        "    assert not {'torch', 'lightning'} & sys.modules.keys(), words\n"
        "    assert words[:1] == ['train'] or words[1:] or 'pydantic' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_flag_of_an_old_name_is_the_current_one_and_says_so() -> None:
    with pytest.warns(DeprecationWarning, match=r"^--") as said:
        assert parsed("train", "--lr=1e-4", "--n_images", "3") == {"learning_rate": "1e-4", "n_groups": "3"}
    assert [re.findall(r"--[\w-]+", str(warning.message)) for warning in said] == [
        ["--lr", "--learning-rate"],
        ["--n-images", "--n-groups"],
    ]


def test_a_flag_of_an_old_name_is_no_flag_where_there_is_no_current_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parsed("simulate", "--output=a.npz", "--lr=1e-4")
    assert told(capsys.readouterr().err) == [("--lr",)]


@pytest.mark.parametrize(
    ("words", "start", "name"),
    [
        (("train", "--nepochs"), "ptycho train: ", "--nepochs"),
        (("train", "--no-pin-memory=true"), "ptycho train: ", "--no-pin-memory"),
        (("train", "--quiet=1"), "ptycho train: ", "--quiet"),
        (("config", "show", "--num-workers", "many"), "ptycho config show: ", "--num-workers"),
        (("config", "--json"), "ptycho config: ", "--json"),
        (("config", "diff"), "ptycho config diff: ", "expected RUN_OR_FILE and RUN_OR_FILE"),
    ],
)
def test_too_few_words_are_refused_in_words(
    words: tuple[str], start: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        build_parser().parse_args(words)
    said = capsys.readouterr().err
    assert (leaving.value.code, said.count("\n")) == (2, 1)
    assert said.startswith(f"{start}{name}")


def test_the_demo_has_no_data_to_ask(ptycho: Callable[..., tuple[int, str, str]]) -> None:
    shown = " ".join(ptycho("demo", "--help-all")[1].split())
    assert "from the data" not in shown
    assert "training writes" not in shown
    assert "simulated pattern. [default: 1e+06]" in shown
