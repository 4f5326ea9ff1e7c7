"""What messages about a file repeat of it: the place, the text of the line, and nothing that steers a terminal."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from ptycho.config import file_text
from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.files import ConfigFile
from ptycho.config.request import Request
from ptycho.config.section import tables_with
from tests.refusals import refused, told


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(name: str, text: str) -> str:
    Path(name).write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig.from_file(name)
    return str(caught.value)


# names, paths and lines


@pytest.mark.parametrize(
    ("name", "text", "culprit"),
    [
        (
            "a.toml",
            '[execution]\n"\\u001b[2J\\u001b[31mX" = 1',
            ("\\x1b[2J\\x1b[31mX", "a.toml:2"),
        ),
        (
            "a.json",
            '{"a\\nnum_workers: fine. b": 1}',
            ("a\\nnum_workers", "a.json:1"),
        ),
        ("a.json", '{"\\u001bX": {}}', ("\\x1bX", "a.json:1")),
        ("a.yaml", '"\\e[2J": 1\n"\\e[2J": 2', ("\\x1b[2J", "a.yaml:1", "a.yaml:2")),
        ("a.json", '{"model": {}, "\\u202eX": 1}', ("\\u202eX", "a.json:1")),
        ("a.toml", "seed = 'x' # \u202e", ("seed", "a.toml:1")),
    ],
)
def test_what_does_not_print_is_spelled_out(name: str, text: str, culprit: tuple[str, ...]):
    said = refusal(name, text)
    assert told(said)[0] == culprit
    assert all(line.isprintable() for line in said.split("\n"))
    assert not any(line.startswith("num_workers: ") for line in said.split("\n"))


def test_a_path_that_does_not_print_is_spelled_out():
    for path in ("a\0.toml", "\x1b[2J.toml", "a\nb.ini"):
        with pytest.raises(ConfigError) as caught:
            PyTorchExecutionConfig.from_file(path)
        assert str(caught.value).isprintable()
    said = refusal("a\nb.toml", "seed = 'x'")
    assert told(said) == [("seed", "a\\nb.toml:1")]
    assert said.splitlines()[1] == "    seed = 'x'"


def test_a_long_name_and_a_long_line_are_cut():
    said = refusal("a.toml", f"{'x' * 5000} = 1\nseed = '{'y' * 5000}'")
    assert len(said) < 1000


def test_of_countless_unknown_names_a_few_are_told():
    said = refusal("a.json", json.dumps({f"name_{number}": number for number in range(20_000)}))
    assert said.count("no such setting") == 19
    assert said.startswith("a.json: 20000 names are not settings here.")


def test_of_countless_names_outside_tables_a_few_are_told():
    names = {f"name_{number}": number for number in range(20_000)}
    Path("a.json").write_text(json.dumps({"model": {}, **names}))
    with pytest.raises(ConfigError) as caught:
        Request([ModelConfig, TrainingConfig, PyTorchExecutionConfig], file="a.json").answer()
    assert sum(failure.name in names for failure in caught.value.failures) == 19
    assert "a.json: 20000 names are not settings here." in str(caught.value)


def test_of_a_name_given_countless_times_a_few_places_are_told():
    said = refusal("a.json", "{" + ",\n".join(['"seed": 1'] * 20_000) + "}")
    assert told(said) == [("seed", *(f"a.json:{line}" for line in range(1, 5)))]
    assert " and more" in said
    assert len(said) < 1000
    said = refusal("a.json", "{" + ",\n".join(f'"x{n}": 1, "x{n}": 2' for n in range(20_000)) + "}")
    assert len(said) < 5000


def test_the_line_of_a_name_behind_very_many_others_is_found():
    names = ", ".join(f'"x{number}": 1' for number in range(5000))
    text = '{"execution": {"seed": "x",\n"origins": {' + names + '}},\n"training": {}}'
    assert told(refusal("a.json", text)) == [("origins", "a.json:2"), ("seed", "a.json:1")]


def test_of_many_mistakes_the_first_are_shown_and_all_are_kept():
    error = ConfigError([Failure(f"a{number}", f"a{number}: wrong.") for number in range(8000)])
    assert str(error).splitlines()[-2:] == [
        "a19: wrong.",
        "7980 more, not shown. Correct these first.",
    ]
    assert len(error.failures) == 8000


@pytest.mark.parametrize(("name", "largest"), [("a.toml", 2**19), ("a.yaml", 2**19), ("a.json", 2**22)])
def test_a_file_that_is_too_large_is_not_parsed(name: str, largest: int):
    said = refusal(name, "#" * (largest + 1))
    assert told(said) == [(name,)]
    assert f" {largest} bytes" in said


@pytest.mark.parametrize(
    ("name", "text", "culprit"),
    [
        ("a.toml", "\n" + ".".join(["a"] * 200_000) + " = 1\n", ("a.toml:2",)),
        (
            "a.toml",
            f"[{'.'.join(['a'] * 2000)}]\n" + "".join(f"b{n} = 1\n" for n in range(40_000)),
            ("a.toml:1",),
        ),
        ("a.toml", "a = " + "[" * 250_000, ("a.toml",)),
        ("a.toml", "a = " + "{a = " * 90_000, ("a.toml",)),
        ("a.toml", 'a = 1\na = 1\nb = "' + '\\"' * 200_000, ("a", "a.toml:1", "a.toml:2")),
        ("a.json", '{"a": ' * 600_000, ("a.json",)),
        ("a.json", f'{{"seed": "{"x" * 4_000_000}"}}', ("seed", "a.json:1")),
        ("a.yaml", "[" * 500_000, ("a.yaml",)),
    ],
)
def test_a_wrong_file_costs_no_more_than_its_size(name: str, text: str, culprit: tuple[str, ...]):
    started_s = time.process_time()
    assert told(refusal(name, text)) == [culprit]
    assert time.process_time() - started_s < 1
    tracemalloc.start()
    refusal(name, text)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10 * len(text) + 2**20


NAMES = ", ".join(f'"k{number}": 1' for number in range(200_000))
LINES = [f"k{number}: 1\n" for number in range(40_000)]


@pytest.mark.parametrize(
    ("name", "text", "culprit"),
    [
        ("a.yaml", "seed: 1\n" * 60_000, ("seed", *(f"a.yaml:{line}" for line in range(1, 5)))),
        ("a.yaml", "".join([*LINES, "seed: 1\nseed: 2"]), ("seed", "a.yaml:40001", "a.yaml:40002")),
        (
            "a.toml",
            "".join([*LINES, "seed: 1\nseed: 2"]).replace(":", " ="),
            ("seed", "a.toml:40001", "a.toml:40002"),
        ),
        ("a.json", f'{{{NAMES}, "seed": 1, "seed": 2}}', ("seed", "a.json:1")),
        ("a.json", f"{{{NAMES}, x", ("a.json:1",)),
    ],
    ids=["one YAML key", "YAML", "TOML", "JSON", "syntax"],
)
def test_a_mistake_behind_very_many_names_is_found_within_a_second(
    name: str, text: str, culprit: tuple[str, ...]
):
    started_s = time.process_time()
    assert culprit in told(refusal(name, text))
    assert time.process_time() - started_s < 1


def test_dots_in_text_and_comments_are_no_names():
    said = "# " + "." * 80 + "\n[execution]\ncheckpoint_monitor_metric = '" + "a." * 500 + "b'\n"
    Path("a.toml").write_text(said)
    assert PyTorchExecutionConfig.from_file("a.toml").checkpoint_monitor_metric.count(".") == 500


def test_what_is_neither_a_file_nor_a_pipe_is_not_opened():
    Path("endless.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"^endless\.json: "):
        TrainingConfig.from_file("endless.json")


def test_a_folder_is_no_file_whatever_it_is_called():
    Path("runs.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^runs\.toml: .*; got a folder\."):
        TrainingConfig.from_file("runs.toml")


def test_standard_input_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"^-: .*standard input"):
        TrainingConfig.from_file("-")


@pytest.mark.parametrize("pieces", [["[training]\nnepochs = 3\n"], ["[training]\n", "nepochs", " = 3\n"]])
def test_a_named_pipe_is_read_once(pieces: list[str]):
    os.mkfifo("pipe.toml")
    script = "import sys, time\nwith open('pipe.toml', 'w') as pipe:\n"
    script += "    for piece in sys.argv[1:]: pipe.write(piece); pipe.flush(); time.sleep(0.05)"
    with subprocess.Popen([sys.executable, "-c", script, *pieces]):
        assert TrainingConfig.from_file("pipe.toml").nepochs == 3


def test_a_pipe_that_nobody_writes_into_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(file_text, "WAIT_S", 0.2)
    os.mkfifo("pipe.toml")
    with pytest.raises(ConfigError, match=r"^pipe\.toml: .*0\.2 s"):
        TrainingConfig.from_file("pipe.toml")


def test_a_pipe_without_end_is_left():
    os.mkfifo("pipe.toml")
    script = "with open('pipe.toml', 'wb') as pipe:\n    while True: pipe.write(b'#' * 65536)"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as writer:
        with pytest.raises(ConfigError, match=r"^pipe\.toml: .*larger"):
            TrainingConfig.from_file("pipe.toml")
        assert writer.wait(20) != 0


def test_an_empty_name_is_quoted():
    assert told(refusal("a.toml", '"" = 1')) == [("''", "a.toml:1")]
    with pytest.raises(ConfigError, match=r"^'': "):
        PyTorchExecutionConfig.from_file("")


def test_a_merge_key_is_refused_as_such():
    for text in ("base: &b\n  seed: 1\nexecution:\n  <<: *b\n", "seed: 1\nbase: &b\n  seed: 1\n<<: *b\n"):
        assert ("<<", "a.yaml:4") in told(refusal("a.yaml", text))


# the text of the line


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '{"learning_rate": Infinity, "num_workers": -Infinity}',
            'got -inf from a.json:1.\n    "num_workers": -Infinity}',
        ),
        ("a.json", '{"num_workers": "x", "token": "hunter2"}', 'from a.json:1.\n    "num_workers": "x", ...'),
        ("a.json", '{"token": "hunter2", "seed": 1}', "token: no such setting at a.json:1."),
        (
            "a.toml",
            'execution = {seed = 1, num_workers = "x"}',
            'from a.toml:1.\n    num_workers = "x"}',
        ),
        (
            "a.toml",
            "execution = {seed = 'x', num_workers = [{a = 1}], token = 'hunter2'}",
            "from a.toml:1.\n    seed = 'x', ...",
        ),
        (
            "a.yaml",
            "execution: {seed: x, token: hunter2}",
            "from a.yaml:1.\n    seed: x, ...",
        ),
        (
            "a.toml",
            "num_workers = 1\nnum_workers = 2",
            "at a.toml:1 and a.toml:2. Keep one of them.\n    num_workers = 1\n    num_workers = 2",
        ),
        (
            "a.yaml",
            "token: hunter1\ntoken: hunter2",
            "at a.yaml:1 and a.yaml:2. Keep one of them.\ntoken: ",
        ),
        ("a.toml", "[exec]\nseed = 1", "no such table at a.toml:1. Did you mean execution?"),
        ("a.toml", "[[execution]]", "Give it a line for each setting."),
        (
            "a.toml",
            "[execution] # hunter2\nseed = 1\n[execution]\nseed = 2",
            "given twice, at a.toml:1 and a.toml:3. Keep one of them.",
        ),
        (
            "a.yaml",
            "a:\n  b:\n    c: 1\n    c: 2",
            "c: given twice, at a.yaml:3 and a.yaml:4. Keep one of them.\na: ",
        ),
        (
            "a.json",
            '{"a": [{"b": 1}, {"b": 2,\n"c": 1, "c": 2}]}',
            "c: given twice, at a.json:2. Keep one of them.\na: ",
        ),
        (
            "a.toml",
            "num_workers = ",
            "a.toml:1: expected valid TOML; got 'Invalid value'.\n    num_workers =",
        ),
        (
            "a.yaml",
            "seed: [1\n",
            "a.yaml:1: expected valid YAML; got \"while parsing a flow sequence, did not find expected ',' or ']'\".\n"
            "    seed: [1",
        ),
        (
            "a.yaml",
            "seed: 1\n---\nseed: 2\n",
            "valid YAML; got 'expected a single document in the stream, but found another document'.",
        ),
        (
            "a.yaml",
            "seed: &hunter2 1\npassword: &hunter2 2\n",
            "a.yaml:2: expected valid YAML; got 'found duplicate anchor; first occurrence, second occurrence'.",
        ),
        *(
            (
                "a.toml",
                text,
                "a.toml:1: expected valid TOML; got a quote that is not closed. Close it.\n    accelerator = ...",
            )
            for text in (
                "accelerator = 'cpu\nseed = 1",
                'accelerator = "cpu\nseed = 1',
                "accelerator = 'cpu",
                'accelerator = "cpu',
            )
        ),
        ("a.toml", "seed = 1\naccelerator = '''cpu", "got a quote that is not closed."),
        ("a.toml", "num_workers = 4 5", "after a statement'.\n    num_workers = 4 5"),
        ("a.toml", "num_workers = 4 password = 5", "after a statement'.\n    num_workers = ..."),
        ("a.yaml", "seed: 'a\n", "found unexpected end of stream'.\n    seed: ..."),
        (
            "a.yaml",
            "\nseed: !foo 3\n",
            "a.yaml:2: expected valid YAML; got a tag (!), which is not supported: ",
        ),
        ("a.yaml", "!!int seed: 3", "a.yaml:1: expected valid YAML; got a tag (!)"),
        ("a.yaml", "- !!python/object/apply:os.getcwd []", "a.yaml:1: expected valid YAML; got a tag (!)"),
        ("a.yaml", "password: !hunter2 x", "quote the value if it is text."),
        ("a.yaml", "seed: 1\nnum_workers\n", "could not find expected ':'\".\n    num_workers"),
        ("a.yaml", "seed: 1\nnum_workers 3\n", "could not find expected ':'\".\n    num_workers 3"),
        ("a.yaml", "seed: 1\nhunter2 3\n", "could not find expected ':'\"."),
        ("a.json", '{"seed": 1,\n', "a.json:1: expected valid JSON; got "),
        ("a.yaml", "# a\u2028# b\u0085\nseed: x", "from a.yaml:2.\n    seed: x"),
        ("a.yaml", "# a\u2028# b\u0085\nseed: [", "a.yaml:2: expected valid YAML; got "),
    ],
)
def test_the_text_of_the_line_is_quoted_and_its_neighbours_are_not(name: str, text: str, message: str):
    said = refusal(name, text)
    assert message in said
    assert "hunter" not in said
    quoted = [line.split()[0].strip('[]{"=:') for line in said.splitlines() if line.startswith("    ")]
    assert all(map(tables_with, quoted))


def test_the_place_of_a_dotted_name_is_its_own():
    assert told(refusal("a.toml", "[execution]\nnum_workers.x = 1\n")) == [("num_workers", "a.toml:2")]


def test_a_table_in_braces_has_its_lines():
    Path("a.toml").write_text(
        "execution = {seed = 1, accelerator = 'cpu', a.b = [1, {c = 2}], d = '#{'}\nx = 1\n"
    )
    file = ConfigFile.collect("a.toml")
    quoted = {
        key: file.places.excerpt(("execution", *key))
        for key in (("seed",), ("accelerator",), ("a", "b"), ("d",))
    }
    assert quoted == {
        ("seed",): "seed = 1, ...",
        ("accelerator",): "accelerator = 'cpu', ...",
        ("a", "b"): "a.b = [1, { ...",
        ("d",): "d = '#{'}",
    }
    assert file.place(("x",)) == "a.toml:2"


# everything at once


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "num_workers: 1\nnum_workers: 2\nfoo: 3\nlearning_rate: x\n"),
        ("a.json", '{"num_workers": 1, "num_workers": 2,\n"foo": 3,\n"learning_rate": "x"}'),
        ("b.yaml", "execution:\n  num_workers: 1\n  num_workers: 2\n  foo: 3\n  learning_rate: x\n"),
    ],
)
def test_a_repeated_key_hides_no_other_failure(name: str, text: str):
    said = refusal(name, text)
    assert sorted(name for name, *_ in told(said)) == ["foo", "learning_rate", "num_workers"]


def test_a_toml_file_that_repeats_a_key_is_read_no_further():
    said = refusal("a.toml", "[execution]\nnum_workers = 1\nfoo = 3\n'num_workers' = [2,\n3]\n")
    assert told(said) == [("num_workers", "a.toml:2", "a.toml:4")]
    assert said.splitlines()[1:] == ["    num_workers = 1", "    'num_workers' = [2,"]


@pytest.mark.parametrize(
    ("name", "line", "hint"),
    [
        ("a.toml", "accelerator = cpu", 'Text needs quotes: "cpu".'),
        ("a.toml", "precision = 16-mixed", 'Text needs quotes: "16-mixed".'),
        ("a.toml", "energy = 8 keV", 'Text needs quotes: "8 keV".'),
        ("a.toml", "detector_pixel = 75um", 'Text needs quotes: "75um".'),
        ("a.toml", "pin_memory = True", "Write true, in lower case."),
        ("a.toml", "num_workers = 08", "Write the number without the leading zero: 8."),
        ("a.toml", "num_workers = 3,", "Remove the comma at the end."),
        ("a.toml", "num_workers:3", "Write = in place of the colon."),
        ("a.toml", "learning_rate = 0,001", "Write a decimal point: 0.001."),
        ("a.toml", "learning_rate = 1,5e-3", "Write a decimal point: 1.5e-3."),
        ("a.toml", "learning_rate = .5", "Write a digit on both sides of the point: 0.5."),
        ("a.toml", "output_dir = ~/runs/$USER", 'Text needs quotes: "~/runs/$USER".'),
        ("a.toml", "train_data_file = ../scans/a-1.npz", 'Text needs quotes: "../scans/a-1.npz".'),
        ("a.json", '"output_dir": /data/runs', 'Text needs quotes: "/data/runs".'),
        ("a.json", '"pin_memory": False', "Write false, in lower case."),
        ("a.json", '"accelerator": cpu', 'Text needs quotes: "cpu".'),
        ("a.yaml", "\tseed: 3", "Indent with spaces, without tabs."),
    ],
)
def test_a_line_that_is_not_valid_is_quoted_with_what_to_do(name: str, line: str, hint: str):
    before = {"a.toml": "\n", "a.json": "{\n", "a.yaml": "execution:\n"}[name]
    said = refusal(name, f"{before}{line}\n" + "}" * (name == "a.json"))
    assert told(said)[0][0] == f"{name}:2"
    assert said.endswith(f"{hint}\n    {line.strip()}")


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        (
            "a.json",
            '{"execution": {"password": "hunter2", "pin_memory": True, "seed": 1}}',
            '"pin_memory": True',
        ),
        ("a.json", '{"password": "hunter2", "seed" = 3}', '"seed" = 3'),
        ("a.toml", 'execution = { password = "hunter2", accelerator = cpu }', "accelerator = cpu"),
        ("a.toml", 'execution = { seed = 08, password = "hunter2" }', "seed = 08"),
    ],
)
def test_of_many_settings_on_a_line_the_wrong_one_is_quoted(name: str, text: str, wrong: str):
    head, _, line = refusal(name, text).partition("\n")
    assert (told(head)[0][0], line.strip()) == (f"{name}:1", wrong)


def test_a_comment_beside_a_wrong_value_is_not_quoted():
    said = refusal("a.toml", "accelerator = gpu # hunter2")
    assert said.endswith('Text needs quotes: "gpu".\n    accelerator = gpu')


@pytest.mark.parametrize("value", [f"0{'1' * 5000}", f"1,{'1' * 5000}", "x" * 5000])
def test_a_value_that_is_too_long_to_repeat_is_refused_shortly(value: str):
    said = refusal("a.toml", f"seed = {value}")
    assert told(said) == [("a.toml:1",)]
    assert len(said) < 400


@pytest.mark.parametrize("line", ["password = hunter2", "password = 08,", "seed = 1, password = hunter2"])
def test_a_line_with_anything_else_is_not_quoted(line: str):
    said = refusal("a.toml", line)
    assert "hunter2" not in said
    assert "08" not in said


def test_a_character_that_yaml_does_not_allow_is_found_on_its_line():
    said = refusal("a.yaml", "seed: 1\naccelerator: cpu\x07\n")
    assert told(said) == [("a.yaml:2",)]


def test_of_a_key_given_twice_the_first_value_is_judged():
    assert "got -1 from a.json:1" in refusal("a.json", '{"seed": -1,\n"seed": 2}')
    assert "got -1 from a.yaml:1" in refusal("a.yaml", "seed: -1\nseed: x")


@pytest.mark.parametrize(
    "text",
    [
        'learning_rate = 1e-3, password "hunter2"',
        'seed = {password "hunter2"}',
        "[wallet]\nseed = correct hunter2 battery",
        'seed = 1 "hunter2"',
    ],
)
def test_a_line_that_is_not_valid_may_hold_more_than_its_setting(text: str):
    for name in ("a.toml", "a.yaml", "a.json"):
        assert "hunter" not in refusal(
            name, text if name == "a.toml" else text.replace(" = ", ": ", 1) + "\n- '"
        )


def test_of_two_settings_on_one_line_both_are_quoted():
    said = refusal("a.json", '{"persistent_workers": true, "num_workers": 0}').splitlines()
    assert said[1:] == ['    "persistent_workers": true, ...', '    "num_workers": 0}']


def test_a_repeated_key_beside_what_no_parser_reads_is_reported():
    said = refusal("a.toml", f"seed = 1\nseed = 2\nnum_workers = {'1' * 5000}\n")
    assert told(said) == [("seed", "a.toml:1", "a.toml:2")]


def test_a_repeated_table_says_nothing_by_itself():
    said = refusal("a.toml", "[execution]\npersistent_workers = true\n[execution]\nnum_workers = 4\n")
    assert told(said) == [("execution", "a.toml:1", "a.toml:3")]


@pytest.mark.parametrize("table", ["", "[execution]\n"])
def test_values_that_do_not_go_together_are_quoted_with_their_lines(table: str):
    line = 2 if table else 1
    said = refusal("a.toml", f"{table}persistent_workers = true  # why not\nprefetch_factor = 2\n")
    assert told(said) == [
        ("persistent_workers", f"a.toml:{line}", "default"),
        ("prefetch_factor", f"a.toml:{line + 1}", "default"),
    ]
    assert said.splitlines()[1::2] == ["    persistent_workers = true  # why not", "    prefetch_factor = 2"]


def test_fields_that_do_not_go_together_are_quoted_with_their_lines():
    Path("run.toml").write_text(
        "[training]\nnll_weight = 0\n[model]\nN = 32\n[execution]\nmiddle_trim = 33\n"
    )
    with pytest.raises(ConfigError) as caught:
        Request([ModelConfig, TrainingConfig, PyTorchExecutionConfig], file="run.toml").answer()
    said = str(caught.value)
    assert told(said) == [
        ("training.nll_weight", "run.toml:2", "default"),
        ("middle_trim", "run.toml:6", "run.toml:4"),
    ]
    assert "    nll_weight = 0" in said.splitlines()
    assert said.endswith("\n    middle_trim = 33\n    N = 32")


def test_an_old_name_is_not_suggested():
    assert "Did you mean [training] n_groups?" in refusal("a.toml", "n_images = 3")


@pytest.mark.parametrize("text", ["", "---\n# seed: 3\n", "--- ~\n", "# seed: 3\n", "null\n"])
def test_a_yaml_file_that_says_nothing_sets_nothing(text: str):
    Path("a.yaml").write_text(text)
    assert PyTorchExecutionConfig.from_file("a.yaml") == PyTorchExecutionConfig()


# who answers for what


def test_each_door_answers_for_its_own_tables_and_for_the_names_of_all():
    doors = (PyTorchExecutionConfig.from_file, TrainingConfig.from_file, InferenceConfig.from_file)
    own = {"[execution]\nfoo = 1": 0, "[training]\nfoo = 1": 1, "[inference]\nfoo = 1": 2}
    for text, door in own.items():
        Path("a.toml").write_text(text)
        for number, read in enumerate(doors):
            if number == door:
                assert refused(lambda read=read: read("a.toml")) == [("foo", "a.toml:2")]
            else:
                read("a.toml")
    Path("a.toml").write_text("[model]\n[execution]\n[trainning]\n")
    for read in doors:
        assert refused(lambda read=read: read("a.toml")) == [("trainning", "a.toml:3")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "execution:\n  num_workers:3\n", "Write a colon and a space: num_workers: 3."),
        (
            "a.yaml",
            "execution:\n  num_workers:3\n  pin_memory: true\n",
            "a.yaml:2: expected valid YAML; got 'mapping values are not allowed in this context'. "
            "Write a colon and a space: num_workers: 3.\n    num_workers:3",
        ),
        ("a.yaml", "learning_rate: 1,5", "from a.yaml:1. Did you mean 1.5?"),
        ("a.yaml", "seed: 1\nnum_workers:3\n", "Write a colon and a space: num_workers: 3."),
        ("a.yaml", "seed: 1\nnum_workers = 3\n", "Write a colon and a space: num_workers: 3."),
        (
            "a.json",
            '{"execution": {"seed": 3,}}',
            "a.json:1: expected valid JSON; got a comma after the last value.",
        ),
        ("a.json", '{"seed": 3,\n}\n', "a.json:1: expected valid JSON; got a comma after the last value."),
        ("a.json", '{"seed": 3,}', '    {"seed": 3,}'),
    ],
)
def test_a_slip_of_a_sign_is_named_with_the_way_out(name: str, text: str, said: str):
    assert said in refusal(name, text)
