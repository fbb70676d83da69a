"""Old or new, never half: files and folders under exceptions and kills."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from colora.runtime import atomic
from colora.runtime.atomic import atomic_file, atomic_folder, write_text

LONGEST = "雨" * 85
"""A name of 255 bytes in UTF-8, the most that most file systems take."""


def next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process is a new one, which happens to have the number of the one before."""
    monkeypatch.setattr(atomic, "_found", {})


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


def test_folders_above_are_made_and_removed_where_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "there" / "new" / "deep" / "bundle"
    (tmp_path / "there").mkdir()
    with pytest.raises(RuntimeError), atomic_folder(target) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]
    with atomic_folder(target) as partial:
        (partial / "whole").touch()
    assert (target / "whole").exists()


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


def test_a_killed_writer_leaves_the_old_folder_and_its_litter_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    next_start(monkeypatch)
    with atomic_folder(target) as folder:
        (folder / "new").write_text("")
    assert [f.name for f in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["f", LONGEST], ids=["short", "long"])
def test_litter_of_an_earlier_start_with_our_number_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    left = []
    for target in (tmp_path / name, tmp_path / "f.g"):
        with atomic_file(target) as partial:
            partial.write_text("whole")
        partial.write_text("half")
        left.append(partial)
    next_start(monkeypatch)
    write_text(tmp_path / name, "new")
    assert [partial.exists() for partial in left] == [False, True]  # another container may be at the other


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 pictures restored into one folder would read 50 million names."""
    listed, real = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: listed.append(folder) or real(folder, pattern))
    for i in range(5):
        write_text(tmp_path / f"{i}", "")
    assert listed == [tmp_path]


@pytest.mark.parametrize("exchange", [True, False])
def test_any_name_that_the_system_has_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(atomic.sys, "platform", "other")
    for target in (tmp_path / LONGEST, tmp_path / ("b" * 255)):
        for _ in range(2):
            with atomic_folder(target) as folder:
                write_text(folder / LONGEST, "new")
    assert len(list(tmp_path.rglob("*"))) == 4


def test_litter_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "f") as mine:
        mine.write_text("mine")
        write_text(tmp_path / "f", "other")
        assert mine.read_text() == "mine"
