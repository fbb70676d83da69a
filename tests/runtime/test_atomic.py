"""Old or new, never half: files and folders under exceptions and kills."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from colora.runtime import atomic
from colora.runtime.atomic import atomic_file, atomic_folder, write_text


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "f"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert (target.read_text(), list(tmp_path.iterdir())) == ("old", [target])
    write_text(target, "new")
    assert (target.read_text(), list(tmp_path.iterdir())) == ("new", [target])


def test_a_link_is_written_through(tmp_path: Path) -> None:
    write_text(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(atomic.sys, "platform", "other")  # two renames instead of one exchange
    target = tmp_path / "deep" / "d"
    for name in ("one", "two"):
        with atomic_folder(target) as folder:
            (folder / name).write_text(name)
    assert [f.name for f in target.iterdir()] == ["two"]
    with pytest.raises(RuntimeError), atomic_folder(target) as folder:
        (folder / "three").write_text("")
        raise RuntimeError
    assert [f.name for f in target.iterdir()] == ["two"]
    assert list(target.parent.iterdir()) == [target]


def test_an_exchange_leaves_no_moment_without_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "d"
    with atomic_folder(target) as folder:
        (folder / "mark").write_text("")
    missing, stop = [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not (target / "mark").exists():
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        with atomic_folder(target) as folder:
            (folder / "mark").write_text("")
    stop.set()
    watcher.join()
    if sys.platform == "linux":
        assert not missing


def test_a_killed_writer_leaves_the_old_folder_and_its_litter_is_swept(tmp_path: Path) -> None:
    target = tmp_path / "d"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("")
    code = f"""
import time
from colora.runtime.atomic import atomic_folder
with atomic_folder({str(target)!r}) as folder:
    (folder / "half").write_text("")
    print("ready", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [f.name for f in target.iterdir()] == ["old"]
    assert len(list(tmp_path.iterdir())) == 2  # the killed process could not clean up
    with atomic_folder(target) as folder:
        (folder / "new").write_text("")
    assert [f.name for f in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_litter_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "f") as mine:
        mine.write_text("mine")
        write_text(tmp_path / "f", "other")
        assert mine.read_text() == "mine"
