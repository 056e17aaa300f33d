"""Where `speak -o` writes: through links, devices and pipes, and a file only when it is whole."""

import os
import stat
import threading
from pathlib import Path

import pytest

from orpheus_openai.target import written


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    with written(tmp_path / "a.wav") as file:
        file.write(b"new")
        assert not (tmp_path / "a.wav").exists()
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "a.wav").read_bytes() == b"new"
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "other"]


def test_what_fails_leaves_the_old_file_as_it_was(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), written(tmp_path / "a.wav") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a.wav").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_link_stays_a_link_and_what_it_names_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").write_bytes(b"old")
    (tmp_path / "real" / "a.wav").chmod(0o640)
    (tmp_path / "link.wav").symlink_to("real/a.wav")
    (tmp_path / "dangling.wav").symlink_to("real/b.wav")
    for name in ("link.wav", "dangling.wav"):
        with written(tmp_path / name) as file:
            file.write(b"new")
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "real" / "a.wav").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real" / "a.wav").stat().st_mode) == 0o640
    assert (tmp_path / "real" / "b.wav").read_bytes() == b"new"


def test_all_names_of_a_file_get_its_new_content(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"longer than the new one")
    os.link(tmp_path / "a.wav", tmp_path / "b.wav")
    with written(tmp_path / "a.wav") as file:
        file.write(b"new")
    assert (tmp_path / "b.wav").read_bytes() == b"new"


def test_a_device_stays_a_device():
    with written(Path("/dev/null")) as file:
        file.write(b"sound")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_pipe_gets_it_all(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with written(tmp_path / "pipe") as file:
        file.write(b"sound")
    reader.join(30)
    assert read == [b"sound"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_two_runs_on_one_target_do_not_collide(tmp_path):
    with written(tmp_path / "a.wav") as first, written(tmp_path / "a.wav") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "a.wav").read_bytes() == b"first", "whoever ends last"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(("name", "why"), [("", "is a folder"), ("none/a.wav", "there is no folder")])
def test_what_cannot_be_written_is_said_with_its_name(tmp_path, name, why):
    with pytest.raises(OSError, match=why) as caught, written(tmp_path / name):
        pass
    assert str(tmp_path / name) in str(caught.value)
