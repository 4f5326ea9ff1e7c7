import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptycho.checksums import CHECKSUMS, Checksums, read_checksums, verify
from ptycho.config.errors import ConfigError
from ptycho.config.record import RECORD


@pytest.fixture(autouse=True)
def _record(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text('{"configuration": {}}')


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RECORD).read_text())


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(folder: Path, name: str, content: bytes, checksums: Checksums | None = None) -> None:
    with (checksums or Checksums(folder)).write(folder / name) as file:
        file.write(content)


def test_a_file_is_listed_by_its_place_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    write(tmp_path, "checkpoints/last.ckpt", b"one")
    Checksums(tmp_path).settle()
    assert record_of(tmp_path) == {"configuration": {}, "sha256": {"checkpoints/last.ckpt": sha(b"one")}}
    assert verify(tmp_path) == {"checkpoints/last.ckpt": "ok"}


def test_a_file_that_was_changed_or_removed_is_told(tmp_path: Path) -> None:
    for name in ("changed", "missing", "sound"):
        write(tmp_path, name, b"one")
    Checksums(tmp_path).settle()
    (tmp_path / "changed").write_bytes(b"onE")
    (tmp_path / "missing").unlink()
    assert verify(tmp_path) == {"changed": "changed", "missing": "missing", "sound": "ok"}


def test_a_link_to_what_never_ends_is_a_change(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", b"a")
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").symlink_to("/dev/zero")
    assert verify(tmp_path) == {"a.txt": "changed"}


def test_a_folder_that_was_moved_is_verified_where_it_is(tmp_path: Path) -> None:
    run, scan = tmp_path / "run", tmp_path / "scan.npz"
    run.mkdir()
    scan.write_bytes(b"patterns")
    (run / "own.npz").write_bytes(b"patterns")
    Checksums(run).write_record({}, [scan, run / "own.npz"])
    moved = run.rename(tmp_path / "moved")
    assert verify(moved) == {str(scan): "ok", "own.npz": "ok"}


@pytest.mark.parametrize("name", ["a b", "line\nbreak", "back\\slash", "r\rn", "\udcff", " *x"])
def test_any_name_is_read_back(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, b"one")
    for listed in ((sha(b"one"), ""), (sha(b"one"),)):
        assert read_checksums(tmp_path) == {name: listed}
        Checksums(tmp_path).settle()


KILLED_BEFORE_ITS_PLACE = """
import os, signal, sys
from pathlib import Path
from ptycho.checksums import Checksums

def put(old, new, put=os.replace):
    put(old, new) if str(new).endswith("config.json") else os.kill(os.getpid(), signal.SIGKILL)

os.replace = put
with Checksums(sys.argv[1]).write(Path(sys.argv[1], "last.ckpt")) as file:
    file.write(b"two")
"""
KILLED_BEFORE_THE_REMOVAL = """
import os, signal, sys
from pathlib import Path
from ptycho.checksums import Checksums

with Checksums(sys.argv[1]).remove(Path(sys.argv[1], "last.ckpt")):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(script: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script, str(folder)])
    assert done.returncode == -signal.SIGKILL


def test_a_file_that_is_written_again_is_verified_whether_or_not_the_writer_came_to_its_end(
    tmp_path: Path,
) -> None:
    write(tmp_path, "last.ckpt", b"one")
    Checksums(tmp_path).settle()
    killed(KILLED_BEFORE_ITS_PLACE, tmp_path)
    assert read_checksums(tmp_path) == {"last.ckpt": (sha(b"one"), sha(b"two"))}
    assert verify(tmp_path) == {"last.ckpt": "ok"}
    write(tmp_path, "last.ckpt", b"two")
    assert verify(tmp_path) == {"last.ckpt": "ok"}
    Checksums(tmp_path).settle()
    assert read_checksums(tmp_path) == {"last.ckpt": (sha(b"two"),)}
    (tmp_path / "last.ckpt").unlink()
    assert verify(tmp_path) == {"last.ckpt": "missing"}


def test_a_new_file_whose_writer_was_killed_is_not_missed(tmp_path: Path) -> None:
    killed(KILLED_BEFORE_ITS_PLACE, tmp_path)
    assert verify(tmp_path) == {}
    Checksums(tmp_path).settle()
    assert read_checksums(tmp_path) == {}


def test_a_file_is_listed_until_it_is_removed(tmp_path: Path) -> None:
    write(tmp_path, "last.ckpt", b"one")
    Checksums(tmp_path).settle()
    killed(KILLED_BEFORE_THE_REMOVAL, tmp_path)
    assert verify(tmp_path) == {"last.ckpt": "ok"}
    with Checksums(tmp_path).remove(tmp_path / "last.ckpt"):
        (tmp_path / "last.ckpt").unlink()
    assert verify(tmp_path) == {}
    Checksums(tmp_path).settle()
    assert read_checksums(tmp_path) == {}


def test_settling_a_file_that_somebody_removed_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "last.ckpt", b"one")
    Checksums(tmp_path).settle()
    write(tmp_path, "last.ckpt", b"two")
    (tmp_path / "last.ckpt").unlink()
    Checksums(tmp_path).settle()
    assert verify(tmp_path) == {"last.ckpt": "missing"}


def test_what_a_writer_has_put_in_its_place_is_listed_once(tmp_path: Path) -> None:
    checksums = Checksums(tmp_path)
    for content in (b"one", b"two", b"three"):
        write(tmp_path, "last.ckpt", content, checksums)
    write(tmp_path, "other", b"four", Checksums(tmp_path))
    write(tmp_path, "epoch.ckpt", b"five", checksums)
    assert read_checksums(tmp_path)["last.ckpt"] == (sha(b"three"),)
    assert set(read_checksums(tmp_path)) == {"epoch.ckpt", "last.ckpt", "other"}


def test_settling_does_not_cover_up_a_change(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write(tmp_path, "last.ckpt", content)
    (tmp_path / "last.ckpt").write_bytes(b"x")
    Checksums(tmp_path).settle()
    assert verify(tmp_path) == {"last.ckpt": "changed"}


def test_a_file_that_was_removed_is_taken_off_with_the_next_that_is_written(tmp_path: Path) -> None:
    checksums = Checksums(tmp_path)
    for name in ("first", "second"):
        write(tmp_path, name, b"one", checksums)
    with checksums.remove(tmp_path / "first"):
        (tmp_path / "first").unlink()
    write(tmp_path, "third", b"one", checksums)
    assert set(read_checksums(tmp_path)) == {"second", "third"}


def test_a_scan_with_other_content_than_before_is_named(tmp_path: Path) -> None:
    run, scan, moved = tmp_path / "run", tmp_path / "scan.npz", tmp_path / "moved.npz"
    run.mkdir()
    scan.write_bytes(b"patterns")
    moved.write_bytes(b"patterns")
    assert Checksums(run).write_record({}, [scan]) == []
    assert Checksums(run).write_record({}, [moved]) == []
    assert set(read_checksums(run)) == {str(moved)}
    moved.write_bytes(b"others")
    assert Checksums(run).write_record({}, [moved]) == [str(moved)]
    assert verify(run) == {str(moved): "ok"}


def test_a_link_to_the_folder_makes_no_other_name(tmp_path: Path) -> None:
    run, link = tmp_path / "run", tmp_path / "link"
    run.mkdir()
    Checksums(run).write_record({}, [])
    link.symlink_to(run)
    write(link, "last.ckpt", b"one", Checksums(run))
    assert list(read_checksums(run)) == ["last.ckpt"]


def test_a_run_that_goes_on_keeps_what_is_listed_of_its_files(tmp_path: Path) -> None:
    write(tmp_path, "last.ckpt", b"one")
    Checksums(tmp_path).write_record({"configuration": {"nepochs": 3}}, [])
    assert record_of(tmp_path)["configuration"] == {"nepochs": 3}
    assert verify(tmp_path) == {"last.ckpt": "ok"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a mapping; got a list"),
        ('{"sha256": []}', "sha256: expected a SHA-256 for each file; got a list"),
        ('{"sha256": {"a": "0a"}}', "sha256: expected a SHA-256 for each file; got a mapping without"),
        ('{"sha256": {"a": [null]}}', "sha256: expected a SHA-256 for each file; got a mapping without"),
        (f'{{"sha256": {{"a\\u0000b": "{"0" * 64}"}}}}', "The record of the run is damaged"),
    ],
)
def test_a_damaged_record_is_refused_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, told: str
) -> None:
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(ConfigError, match=told):
        verify(tmp_path)
    write(tmp_path, "last.ckpt", b"one")  # a training is not stopped by it
    assert (tmp_path / "last.ckpt").read_bytes() == b"one"
    assert (tmp_path / RECORD).read_text() == content
    assert "cannot be kept in it" in caplog.text


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECORD).unlink()
    with pytest.raises(ConfigError, match=r"which holds config.json; got one without it\. Name"):
        verify(tmp_path)
    with pytest.raises(ConfigError, match="got no folder"):
        verify(tmp_path / "nowhere")


def write_half(path: Path) -> None:
    with Checksums(path.parent).write(path) as file:
        file.write(b"half")
        raise OSError(28, "full")


def test_a_file_that_cannot_be_written_leaves_the_one_that_was_there_verified(tmp_path: Path) -> None:
    write(tmp_path, "last.ckpt", b"one")
    with pytest.raises(OSError, match="full"):
        write_half(tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == b"one"
    assert verify(tmp_path) == {"last.ckpt": "ok"}
    assert sorted(os.listdir(tmp_path)) == [RECORD, "last.ckpt"]


def test_a_file_that_is_moved_over_one_that_was_written_is_the_one_listed(tmp_path: Path) -> None:
    checksums = Checksums(tmp_path)
    with checksums.write(tmp_path / "a") as file:
        file.write(b"old")
    new = tmp_path / "new"
    new.write_bytes(b"new")
    checksums.list_moved({tmp_path / "a": new})
    new.replace(tmp_path / "a")
    with checksums.write(tmp_path / "b") as file:
        file.write(b"another")
    assert verify(tmp_path) == {"a": "ok", "b": "ok"}


# What earlier versions wrote -----------------------------------------------------------------------------------------

ABSENT_SHA = "0" * 64


def list_of(folder: Path, *lines: str) -> None:
    (folder / CHECKSUMS).write_text("".join(f"{line}\n" for line in lines))


def test_the_list_of_an_earlier_version_is_verified_and_goes_into_the_record(tmp_path: Path) -> None:
    for name in ("last.ckpt", "line\nbreak", "kept"):
        (tmp_path / name).write_bytes(b"one")
    lines = [f"{ABSENT_SHA}  last.ckpt", f"{sha(b'one')}  last.ckpt", f"\\{sha(b'one')}  line\\nbreak"]
    list_of(tmp_path, *lines, "# may be missing: gone", f"{sha(b'one')}  gone", f"{sha(b'one')}  kept")
    whole = {"last.ckpt": "ok", "line\nbreak": "ok", "kept": "ok"}
    assert verify(tmp_path) == whole
    write(tmp_path, "kept", b"two")
    assert verify(tmp_path) == whole
    Checksums(tmp_path).settle()
    assert record_of(tmp_path)["sha256"]["last.ckpt"] == sha(b"one")
    assert not (tmp_path / CHECKSUMS).exists()


def test_a_list_of_others_beside_a_record_with_its_own_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "last.ckpt", b"one")
    list_of(tmp_path, f"{ABSENT_SHA}  last.ckpt")
    write(tmp_path, "last.ckpt", b"two")
    assert verify(tmp_path) == {"last.ckpt": "ok"}
    assert (tmp_path / CHECKSUMS).read_text() == f"{ABSENT_SHA}  last.ckpt\n"


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    list_of(tmp_path, f"{sha(b'')}  sound", "no list")
    with pytest.raises(ConfigError, match="SHA256SUMS:2: expected a SHA-256 and a name; got 'no list'"):
        verify(tmp_path)


def test_a_list_without_a_record_is_verified(tmp_path: Path) -> None:
    (tmp_path / RECORD).unlink()
    (tmp_path / "last.ckpt").write_bytes(b"one")
    list_of(tmp_path, f"{sha(b'one')}  last.ckpt")
    assert verify(tmp_path) == {"last.ckpt": "ok"}


# What others put there ----------------------------------------------------------------------------------------------


def test_a_pipe_in_place_of_the_list_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CHECKSUMS)
    with pytest.raises(ConfigError, match=r"SHA256SUMS: expected a readable list .*got a pipe"):
        verify(tmp_path)


def test_a_file_without_an_end_is_read_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    endless = [name for name in ("/dev/zero", "/proc/kmsg") if Path(name).exists()]
    list_of(tmp_path, *(f"{ABSENT_SHA}  {name}" for name in ("pipe", *endless)))
    states = verify(tmp_path)
    assert states.keys() == {"pipe", *endless}
    assert set(states.values()) <= {"changed", "unreadable"}


def test_a_list_that_leads_to_a_file_without_an_end_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / CHECKSUMS).symlink_to("/proc/kmsg")
    try:
        found = verify(tmp_path)
    except ConfigError:  # where the system keeps it from us, or has none
        found = {}
    assert found == {}


@pytest.mark.parametrize("line", [f"{ABSENT_SHA}  a\0b\n", "# may be missing: a\0b\n"])
def test_a_name_that_no_file_can_have_is_a_damaged_list(tmp_path: Path, line: str) -> None:
    (tmp_path / CHECKSUMS).write_text(line)
    with pytest.raises(ConfigError, match="The file was damaged"):
        verify(tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    list_of(tmp_path, *(f"{ABSENT_SHA}  {name}" for name in ("x" * 300, "loop")))
    assert verify(tmp_path) == {"x" * 300: "unreadable", "loop": "unreadable"}
