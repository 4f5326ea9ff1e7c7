"""Files of settings that attack their reader."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.faults.doors import INJECTED
from tests.faults.hostile_scans import METADATA, Case, Made

TAGS = (
    *("!!python/object/apply:os.system ['touch CANARY']", "!!python/object/new:os.system ['touch CANARY']"),
    *("!!python/object/apply:builtins.exec [\"open('CANARY', 'w')\"]", "!!python/name:os.system ''"),
    *("!!python/module:os ''", "!!python/object/apply:subprocess.check_output [[touch, CANARY]]"),
    *("!!python/object:os.PathLike {}", "!!python/tuple [1, 2]", "!!python/bytes 'abc'", "!!python/long 3"),
    *(
        "!!binary 'AAAA'",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!timestamp 2001-01-01",
        "!own tag",
        "!!float 'x'",
    ),
)

YAML = {
    "a billion laughs": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    + "training: {nepochs: *a11}\n",
    "a mapping that holds itself": "training: &t\n  nepochs: *t\n",
    "merges": "base: &b {nepochs: 1}\ntraining:\n  <<: [*b, *b]\n  nepochs: 2\n",
    "a name twice": "training:\n  nepochs: 1\n  nepochs: 2\n",
    "deep lists": "training:\n  nepochs: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep mappings": "".join(" " * i + "a:\n" for i in range(1500)),
    "several documents": "training: {nepochs: 1}\n---\ntraining: {nepochs: 2}\n",
    "a name that is a list": "? [1, 2]\n: 3\n",
    "a name that is a mapping": "? {a: 1}\n: 3\n",
    "a long word": "training: {nepochs: " + "9" * 10000 + "}\n",
    "10 MB": "training:\n  output_dir: " + "x" * 10**7 + "\n",
    "an escape": 'training: {output_dir: "\\e[31mred"}\n',
    "an escape in a name": '"\\e[31mred": 1\n',
    "a line break in a name": f'"a\\n{INJECTED}": 1\n',
    "a line break in a value": f'training: {{nepochs: "a\\n{INJECTED}"}}\n',
    "base 60": "training: {nepochs: 1:30:00}\n",
    "words for truth": "execution: {deterministic: on}\n",
    "infinity": "execution: {learning_rate: .inf}\n",
    "not a number": "execution: {learning_rate: .nan}\n",
    "a directive": "%YAML 9.9\n---\ntraining: {nepochs: 1}\n",
    "an open quote": 'training: {nepochs: "1\n',
    "tabs": "training:\n\tnepochs: 1\n",
    "an unknown alias": "training: {nepochs: *nowhere}\n",
    "nothing": "",
    "text": "just words\n",
    "a list": "- 1\n- 2\n",
}
TOML = {
    "a table twice": "[training]\nnepochs = 1\n[training]\nnepochs = 2\n",
    "a name twice": "[training]\nnepochs = 1\nnepochs = 2\n",
    "deep lists": "[training]\nnepochs = " + "[" * 3000 + "]" * 3000 + "\n",
    "deep tables": "[" + ".".join(["a"] * 3000) + "]\nb = 1\n",
    "a long number": "[training]\nnepochs = " + "9" * 10000 + "\n",
    "a long fraction": "[execution]\nlearning_rate = 1e" + "9" * 1000 + "\n",
    "10 MB": "[training]\noutput_dir = '" + "x" * 10**7 + "'\n",
    "an escape": '[training]\noutput_dir = "\\u001b[31mred"\n',
    "an escape in a name": '"\\u001b[31mred" = 1\n',
    "a line break in a name": f'"a\\n{INJECTED}" = 1\n',
    "a line break in a value": f'[training]\nnepochs = "a\\n{INJECTED}"\n',
    "a date": "[training]\nnepochs = 2001-01-01T00:00:00Z\n",
    "infinity": "[execution]\nlearning_rate = inf\n",
    "not a number": "[execution]\nlearning_rate = nan\n",
    "an open quote": '[training]\noutput_dir = "abc\n',
    "a raw escape": "[training]\noutput_dir = '\x1b[31m'\n",
    "a NUL": "[training]\noutput_dir = 'a\x00b'\n",
    "a table in place of a number": "[training.nepochs]\na = 1\n",
    "a list of tables": "[[training]]\nnepochs = 1\n",
    "nothing": "",
    "text": "just words\n",
    "folders above": "[training]\noutput_dir = '../../../../../../../../proc/nowhere'\n",
    "a device as folder": "[training]\noutput_dir = '/dev/null'\n",
    "huge numbers": "[execution]\nnum_workers = 1000000\n[model]\nn_unrolled_steps = 1000000000\n",
}
BYTES = {
    "no text": bytes(range(256)) * 4,
    "UTF-16": "[training]\nnepochs = 1\n".encode("utf-16"),
    "a mark at the beginning": b"\xef\xbb\xbf[training]\nnepochs = 1\n",
    "half a character": b"[training]\noutput_dir = '\xed\xa0\x80'\n",
    "NULs": bytes(1000),
    "a megabyte of brackets": b"[" * 10**6,
    "another alphabet": "[training]\noutput_dir = '\u202eabc'\n".encode(),
}


def _written(suffix: str, content: bytes) -> Made:
    def make(folder: Path, canary: Path) -> Path:
        path = folder / f"run{suffix}"
        path.write_bytes(content.replace(b"CANARY", os.fsencode(canary)))
        return path

    return make


def _texts() -> Iterator[Case]:
    for tag in TAGS:
        for place in ("training:\n  nepochs: {}\n", "{}\n", "training: {}\n"):
            yield f"YAML: {tag[:30]} in {place[:9]!r}", _written(".yaml", place.format(tag).encode())
    for name, text in YAML.items():
        yield f"YAML: {name}", _written(".yaml", text.encode())
    for name, text in TOML.items():
        yield f"TOML: {name}", _written(".toml", text.encode())
    for name, text in METADATA.items():
        content = text.encode("utf-8", "surrogatepass")
        yield f"JSON: {name}", _written(".json", content)
        yield f"JSON: {name} in a table", _written(".json", b'{"training": ' + content + b"}")
    for suffix in (".toml", ".yaml", ".json"):
        for name, content in BYTES.items():
            yield f"{suffix}: {name}", _written(suffix, content)


def _special() -> Iterator[Case]:
    for suffix in (".toml", ".yaml", ".json"):
        for target in ("/dev/zero", "/proc/kmsg", f"run{suffix}", "/nowhere"):

            def linked(folder: Path, _: Path, target: str = target, suffix: str = suffix) -> Path:
                (folder / f"run{suffix}").symlink_to(target)
                return folder / f"run{suffix}"

            yield f"{suffix}: a link to {target}", linked

        def pipe(folder: Path, _: Path, suffix: str = suffix) -> Path:
            os.mkfifo(folder / f"run{suffix}")
            return folder / f"run{suffix}"

        yield f"{suffix}: a pipe", pipe
    for shown in ("\x1b[31mred", f"a\n{INJECTED}", "\u202elmot", "\udcff"):

        def named(folder: Path, _: Path, shown: str = shown) -> Path:
            path = folder / f"{shown}.toml"
            path.write_text("[training]\nnepochs = 'x'\n")
            return path

        yield f"TOML: a wrong file called {shown.encode('ascii', 'backslashreplace').decode()[:12]!r}", named
    large = json.dumps({"training": {"nepochs": list(range(10**6))}})
    yield "JSON: a million numbers for one", _written(".json", large.encode())


SETTINGS: tuple[Case, ...] = (*_texts(), *_special())
