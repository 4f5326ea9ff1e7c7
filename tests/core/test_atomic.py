import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ptycho.atomic import atomic_write


def write_half(target: Path, error: BaseException) -> None:
    with atomic_write(target) as file:
        file.write(b"half")
        raise error


def test_the_target_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic_write(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_on_the_way_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt())
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(OSError, match="No space") as raised:
        write_half(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert raised.value.filename == str(target)
    assert not os.listdir(tmp_path)


def test_a_missing_folder_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as raised, atomic_write(target):
        pass
    assert raised.value.filename == str(target)


def test_a_killed_writer_leaves_the_old_file_and_its_leftover_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    script = (
        "import os, signal, sys\n"
        "from ptycho.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)])
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    with atomic_write(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_writers_at_work_do_not_remove_each_other(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            with atomic_write(tmp_path / f"file{number % 2}") as file:
                file.write(bytes([number]) * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(tmp_path)) == ["file0", "file1"]
    assert all(len(set((tmp_path / name).read_bytes())) == 1 for name in os.listdir(tmp_path))


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside, link = tmp_path / "outside", tmp_path / "link"
    outside.write_bytes(b"precious")
    link.symlink_to(outside)
    with atomic_write(link) as file:
        file.write(b"new")
    assert outside.read_bytes() == b"precious"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


def test_of_two_writers_that_replace_nothing_the_first_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "scan.npz"

    def write_slowly() -> None:
        with atomic_write(target, replace=False) as slow:
            slow.write(b"second")
            with atomic_write(target, replace=False) as fast:
                fast.write(b"first")

    with pytest.raises(FileExistsError) as raised:
        write_slowly()
    assert raised.value.filename == str(target)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"scan.npz": b"first"}


def test_a_link_to_nowhere_is_no_free_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "link", replace=False):
        pass
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_not_replaced(tmp_path: Path, make: object) -> None:
    target = tmp_path / "there"
    assert callable(make)
    make(target)
    with pytest.raises(FileExistsError) as raised, atomic_write(target):
        pass
    assert raised.value.filename == str(target)
    assert target.exists()
