"""Models and folders of runs that attack their reader."""

import atexit
import functools
import io
import json
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tests.faults.doors import INJECTED
from tests.faults.hostile_scans import METADATA, Bomb, Case, archive, pickles

CONFIG, WEIGHTS = "config.json", "weights.safetensors"
MODEL = "wts.h5.zip"


@functools.cache
def trained() -> Path:
    """A folder of a run of two epochs; made once in a process."""
    from ptycho_torch.config_factory import create_training_payload
    from ptycho_torch.runs.training import train
    from ptycho_torch.simulate import simulate_scan
    from tests.legacy_dictionary import legacy_dictionary_restored

    folder = Path(tempfile.mkdtemp(prefix="ptycho-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    simulate_scan(N=32, n_positions=40, nphotons=1e5, seed=3).to_file(folder / "scan.npz")
    settings = {"n_groups": 24, "gridsize": 1, "batch_size": 12, "nepochs": 2, "n_filters_scale": 1}
    settings |= {"n_unrolled_steps": 1, "n_physics_steps": 1, "accelerator": "cpu", "val_split": 0.2}
    settings |= {"enable_progress_bar": False}
    with legacy_dictionary_restored():
        train(create_training_payload(folder / "scan.npz", folder / "run", settings))
    return folder / "run"


def members() -> dict[str, bytes]:
    """The members of a sound model."""
    with zipfile.ZipFile(trained() / MODEL) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def model(folder: Path, how: int = zipfile.ZIP_STORED, **changed: bytes | None) -> Path:
    """A model with the members changed that are named `config` or `weights`, or others."""
    content = members()
    names = {"config": CONFIG, "weights": WEIGHTS}
    for name, value in changed.items():
        content.pop(names.get(name, name), None)
        if value is not None:
            content[names.get(name, name)] = value
    return archive(folder / MODEL, content, how)


def configured(*path: str, value: Any) -> Callable[[Path, Path], Path]:
    """A model whose configuration has another value at a path."""

    def make(folder: Path, _: Path) -> Path:
        config = json.loads(members()[CONFIG])
        inner = functools.reduce(lambda found, name: found.setdefault(name, {}), path[:-1], config)
        inner[path[-1]] = value
        return model(folder, config=json.dumps(config).encode())

    return make


ODD_VALUES: dict[str, Any] = {
    "huge": 10**9,
    "beyond every integer": 10**30,
    "negative": -1,
    "text": "\x1b[31mred",
    "a line break": f"a\n{INJECTED}",
    "a list": [1, [2, [3]]],
    "null": None,
    "a fraction": 0.5,
    "a long text": "x" * 10**6,
}
FIELDS = (
    *(("model", "N"), ("model", "n_unrolled_steps"), ("model", "n_filters_scale"), ("model", "gridsize")),
    *(("model", "n_physics_steps"), ("model", "architecture"), ("training", "batch_size")),
    *(("training", "output_dir"), ("training", "train_data_file"), ("training", "nphotons")),
    *(("execution", "num_workers"), ("execution", "inference_batch_size"), ("execution", "accelerator")),
    *(
        ("data", "probe_shape"),
        ("data", "probe_scale"),
        ("data", "probe_guess_sha256"),
        ("format",),
        ("version",),
    ),
)


def _configurations() -> Iterator[Case]:
    for path in FIELDS:
        for name, value in ODD_VALUES.items():
            yield f"model: {'.'.join(path)}: {name}", configured(*path, value=value)
    for name in (
        "10,000 deep",
        "100,000 deep",
        "10 MB",
        "a number of 10,000 digits",
        "no JSON",
        "half a character",
    ):
        text = METADATA[name].encode("utf-8", "surrogatepass")
        yield f"model: configuration: {name}", lambda folder, _, text=text: model(folder, config=text)
    for what, member in (("configuration", "config"), ("weights", "weights")):
        yield f"model: no {what}", lambda folder, _, member=member: model(folder, **{member: None})
        yield f"model: empty {what}", lambda folder, _, member=member: model(folder, **{member: b""})


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path, Path], Path]:
    def make(folder: Path, _: Path) -> Path:
        tensors = safetensors.torch.load(members()[WEIGHTS])
        changed = change(tensors)
        return model(folder, weights=safetensors.torch.save(tensors if changed is None else changed))

    return make


def _first(tensors: Mapping[str, torch.Tensor]) -> str:
    return sorted(name for name in tensors if name.startswith("network."))[0]


WRONG_TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "of another shape": lambda held: held.update({_first(held): torch.zeros(3)}),
    "of whole numbers": lambda held: {name: value.real.to(torch.int8) for name, value in held.items()},
    "of double precision": lambda held: held.update({_first(held): held[_first(held)].double()}),
    "of half precision": lambda held: held.update({_first(held): held[_first(held)].half()}),
    "of NaN": lambda held: held.update({_first(held): held[_first(held)] * torch.nan}),
    "of infinity": lambda held: held.update({_first(held): held[_first(held)] / 0}),
    "missing": lambda held: {name: held[name] for name in held if name != _first(held)},
    "in addition": lambda held: held.update({"network.\x1b[31mred": torch.zeros(3)}),
    "with a line break in the name": lambda held: held.update({f"network.a\n{INJECTED}": torch.zeros(3)}),
    "none": lambda held: held.clear(),
    "a probe of another size": lambda held: held.update(
        {"probe": torch.zeros(1, 1, 64, 64).to(torch.complex64)}
    ),
    "without a probe": lambda held: {name: held[name] for name in held if name != "probe"},
    "a probe of NaN": lambda held: held.update({"probe": held["probe"] * torch.nan}),
}

HEADERS: dict[str, bytes] = {
    "a header of exabytes": struct.pack("<Q", 2**62) + b"{}",
    "a deep header": struct.pack("<Q", 200000) + b"[" * 200000,
    "no JSON": struct.pack("<Q", 8) + b"\x1b[31mred",
    "offsets beyond the end": struct.pack("<Q", 68)
    + b'{"a": {"dtype": "F32", "shape": [1000000], "data_offsets": [0, 4000000]}}'[:68].ljust(68),
    "a huge shape": struct.pack("<Q", 100)
    + b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}'.ljust(100),
    "an unknown dtype": struct.pack("<Q", 80)
    + b'{"a": {"dtype": "\\u001b[31m", "shape": [1], "data_offsets": [0, 4]}}'.ljust(80)
    + bytes(4),
    "a few bytes": b"\x01\x02",
}


def _weights() -> Iterator[Case]:
    for name, change in WRONG_TENSORS.items():
        yield f"model: weights {name}", _tensors(change)
    for name, content in HEADERS.items():
        yield f"model: weights with {name}", lambda folder, _, content=content: model(folder, weights=content)
    for name in ("protocol 0", "protocol 2", "protocol 5", "os.system", "builtins.exec"):
        yield (
            f"model: weights are a pickle ({name})",
            lambda folder, canary, name=name: model(folder, weights=pickles(canary)[name]),
        )

        def whole(folder: Path, canary: Path, name: str = name) -> Path:
            (folder / MODEL).write_bytes(pickles(canary)[name])
            return folder / MODEL

        yield f"model: a pickle ({name})", whole


def _archives() -> Iterator[Case]:
    for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"model: packed in way {how}", lambda folder, _, how=how: model(folder, how)
    for name in ("../../evil", "/evil", "a\x1b[31m", f"a\n{INJECTED}", "code/__torch__.py", "data.pkl"):
        yield f"model: a member {name!r}", lambda folder, _, name=name: model(folder, **{name: b"x"})

    def saved(folder: Path, canary: Path) -> Path:
        torch.save({"state_dict": Bomb(canary)}, folder / MODEL)
        return folder / MODEL

    yield "model: saved by torch, with code", saved

    def large(folder: Path, _: Path) -> Path:
        return archive(folder / MODEL, {CONFIG: b" " * (200 * 2**20), WEIGHTS: b""}, zipfile.ZIP_DEFLATED)

    yield "model: a configuration that unpacks to 200 MB", large

    def empty(folder: Path, _: Path) -> Path:
        (folder / MODEL).touch()
        return folder / MODEL

    yield "model: empty", empty
    for target in ("/dev/zero", "/proc/kmsg", "wts.h5.zip", "/proc/self/mem"):

        def linked(folder: Path, _: Path, target: str = target) -> Path:
            (folder / MODEL).symlink_to(target)
            return folder

        yield f"model: a link to {target}", linked

    def pipe(folder: Path, _: Path) -> Path:
        os.mkfifo(folder / MODEL)
        return folder

    yield "model: a pipe", pipe


def _run(change: Callable[[Path, Path], None]) -> Callable[[Path, Path], Path]:
    """A copy of a finished run without its model, with a change."""

    def make(folder: Path, canary: Path) -> Path:
        run = Path(shutil.copytree(trained(), folder / "run"))
        (run / MODEL).unlink()
        change(run, canary)
        return run

    return make


def _checkpoints(run: Path) -> list[Path]:
    return list((run / "checkpoints").glob("*.ckpt"))


def _each(content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
    def change(run: Path, canary: Path) -> None:
        for checkpoint in _checkpoints(run):
            checkpoint.write_bytes(content(canary))

    return change


def _saved(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def _altered(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], bytes]:
    def content(_: Path) -> bytes:
        held = torch.load(_checkpoints(trained())[0], weights_only=True)
        change(held)
        return _saved(held)

    return content


def _tar(canary: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(pickles(canary)["protocol 2"])
            packed.addfile(info, io.BytesIO(pickles(canary)["protocol 2"]))
    return stream.getvalue()


CHECKPOINTS: dict[str, Callable[[Path], bytes]] = {
    **{
        f"a pickle ({name})": lambda canary, name=name: pickles(canary)[name]
        for name in ("protocol 0", "protocol 2", "os.system", "builtins.exec")
    },
    "saved by torch, with code": lambda canary: _saved({"state_dict": Bomb(canary)}),
    "saved by torch as it used to be, with code": lambda canary: _saved(
        {"state_dict": Bomb(canary)}, _use_new_zipfile_serialization=False
    ),
    "a tar archive": _tar,
    "empty": lambda _: b"",
    "text": lambda _: b"\x1b[31mred\n",
    "no mapping": lambda _: _saved([1, 2, 3]),
    "no weights": _altered(lambda held: held.pop("state_dict")),
    "no optimizer": _altered(lambda held: held.pop("optimizer_states")),
    "no loops": _altered(lambda held: held.pop("loops")),
    "no callbacks": _altered(lambda held: held.pop("callbacks")),
    "no settings": _altered(lambda held: held.pop("hyper_parameters")),
    "weights of NaN": _altered(lambda held: [value.mul_(torch.nan) for value in held["state_dict"].values()]),
    "weights of another shape": _altered(
        lambda held: held["state_dict"].update({name: torch.zeros(3) for name in held["state_dict"]})
    ),
    "a huge number of epochs": _altered(lambda held: held.update(epoch=10**12, global_step=10**15)),
    "a negative number of epochs": _altered(lambda held: held.update(epoch=-3)),
    "text for a number": _altered(lambda held: held.update(epoch="\x1b[31mred")),
    "history of other rows": _altered(
        lambda held: held["callbacks"]["LossHistory"].update(rows=["\x1b[31m"])
    ),
    "huge settings": _altered(
        lambda held: held["hyper_parameters"]["model_config"].update(n_unrolled_steps=10**9)
    ),
}
RECORDS: dict[str, Any] = {
    "deep": METADATA["100,000 deep"],
    "10 MB": METADATA["10 MB"],
    "a list": "[]",
    "text": "\x1b[31mred",
    "empty": "",
    "a number": "3",
}


def _runs() -> Iterator[Case]:
    for name, content in CHECKPOINTS.items():
        yield f"run: checkpoints: {name}", _run(_each(content))
    for name, text in RECORDS.items():
        yield (
            f"run: record: {name}",
            _run(lambda run, _, text=text: (run / CONFIG).write_text(text) and None),
        )
    for path in (
        *(("configuration", "nepochs"), ("configuration", "model"), ("configuration", "train_data_file")),
        *(("execution", "num_workers"), ("execution", "seed"), ("origins",), ("fingerprints",), ("resumed",)),
        *(("versions",), ("configuration", "output_dir"), ("configuration", "batch_size")),
    ):
        for name, value in ODD_VALUES.items():

            def change(run: Path, _: Path, path: tuple[str, ...] = path, value: Any = value) -> None:
                record = json.loads((run / CONFIG).read_text())
                inner = functools.reduce(lambda found, key: found[key], path[:-1], record)
                inner[path[-1]] = value
                (run / CONFIG).write_text(json.dumps(record))

            yield f"run: record: {'.'.join(path)}: {name}", _run(change)
    for name, content in (
        ("empty", b""),
        ("escapes", b"epoch,step\n\x1b[31m,1\n"),
        ("a megabyte in a row", b"epoch\n" + b"9" * 10**6 + b"\n"),
        ("NUL", bytes(1000)),
        ("no text", np.random.default_rng(0).bytes(1000)),
    ):
        yield (
            f"run: history: {name}",
            _run(lambda run, _, content=content: (run / "history.csv").write_bytes(content) and None),
        )
    for target in ("/dev/zero", "/proc/kmsg", "last.ckpt", "/nowhere", "/etc/passwd"):

        def linked(run: Path, _: Path, target: str = target) -> None:
            for checkpoint in _checkpoints(run):
                checkpoint.unlink()
            (run / "checkpoints" / "last.ckpt").symlink_to(target)

        yield f"run: last.ckpt is a link to {target}", _run(linked)
    for target in ("/dev/zero", "/proc/kmsg", ""):

        def endless(run: Path, _: Path, target: str = target) -> None:
            (run / MODEL).symlink_to(target) if target else os.mkfifo(run / MODEL)

        yield f"run: the model is {target or 'a pipe'}", _run(endless)


MODELS: tuple[Case, ...] = (*_configurations(), *_weights(), *_archives())
RUNS: tuple[Case, ...] = (*_runs(),)
