"""`orpheus-openai pull`: a GGUF file from whichever mirror has it, whole and checked, and a server that finds it."""

import argparse
import contextlib
import errno
import importlib.util
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from orpheus_openai.catalog import load_catalog
from orpheus_openai.cli import pull as command
from orpheus_openai.installation import installing
from orpheus_openai.models import pull as pulling
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus import engine
from orpheus_openai.settings import Settings
from tests.support.command_line import run
from tests.support.environment import environ
from tests.support.hub import Hub

MIRRORS = load_catalog(None).models["medium-3b"].gguf
FILE = "orpheus-3b-0.1-ft-Q4_K_M.gguf"


def of_the_hub(hub, folder):
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }


def pull(hub, folder, *arguments):
    done = run("pull", *arguments, folder=folder, **of_the_hub(hub, folder))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def pull_on_a_terminal(hub, folder):
    """What it came to, and what stood on the terminal."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    command = [sys.executable, "-m", "orpheus_openai", "pull"]
    env = environ(**of_the_hub(hub, folder))
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=its) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # that is how Linux tells of its end
            while piece := os.read(ours, 65_536):
                shown += piece
    os.close(ours)
    return process.returncode, shown.decode()


@pytest.fixture(scope="module")
def content(tiny_gguf):
    return tiny_gguf.read_bytes()


def test_the_next_mirror_is_asked_and_a_server_without_a_gpu_speaks_with_what_came(
    content, tmp_path, monkeypatch
):
    with Hub({MIRRORS[1]: {FILE: content}}) as hub:
        done = pull(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ORPHEUS_MODEL_MEDIUM_3B={MIRRORS[1]}:q4_k_m\n"
    assert MIRRORS[0] in done.stderr
    assert "GiB" in done.stderr

    monkeypatch.setattr(engine, "gpu_count", lambda: 0)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing"))
    models = ModelFactory(Settings(), load_catalog(None))
    assert models.default_model == "preview"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert models.default_model == "medium-3b", "without a restart"
    assert models.checkpoint(load_catalog(None).models["medium-3b"]) == f"{MIRRORS[1]}:q4_k_m"


def test_what_is_not_what_the_hub_tells_of_is_removed_and_the_next_mirror_asked(content, tmp_path):
    bad = {MIRRORS[0]: {"bad-Q4_K_M.gguf": content}, MIRRORS[1]: {"short-Q4_K_M.gguf": content[:-5_000_000]}}
    with Hub({**bad, MIRRORS[2]: {FILE: content}}) as hub:
        hub.lies.add("bad-Q4_K_M.gguf")
        done = pull(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "checksum" in done.stderr
    assert "not whole" in done.stderr
    assert done.stdout == f"ORPHEUS_MODEL_MEDIUM_3B={MIRRORS[2]}:q4_k_m\n"
    assert [file.name for file in tmp_path.glob("hub/*/snapshots/*/*")] == [FILE], (
        "a server would take the others"
    )


def test_a_download_that_broke_off_is_taken_up_where_it_was_and_a_terminal_shows_how_far_it_is(
    content, tmp_path
):
    with Hub({MIRRORS[0]: {FILE: content}}) as hub:
        hub.breaks_at = 15_000_000
        status, shown = pull_on_a_terminal(hub, tmp_path)
        assert status == 0, shown
        first, again = hub.ranges
        assert first is None
        assert 0 < int(again.removeprefix("bytes=").removesuffix("-")) <= 15_000_000
    assert re.search(rf"{FILE}: +0%.*\| 0.00/24", shown)
    assert re.search(rf"{FILE}: 100%.*24\.\dM/24\.\dM", shown)


def test_the_setting_is_saved_in_the_place_of_the_old_one(content, tmp_path):
    (tmp_path / ".env").write_text("# mine\nORPHEUS_MODEL_MEDIUM_3B=old\nPORT=9000\n")
    with Hub({MIRRORS[0]: {"a-Q8_0.gguf": content}}) as hub:
        done = pull(hub, tmp_path, "medium-3b", "--quant", "Q8_0", "--save")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / ".env").read_text().splitlines()
    assert lines == ["# mine", f"ORPHEUS_MODEL_MEDIUM_3B={MIRRORS[0]}:q8_0", "PORT=9000"]


def test_on_a_full_disk_the_settings_stay_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORT=9000\n")
    write = Path.write_text

    def half(path, text, **how):
        write(path, text[: len(text) // 2], **how)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pulling, "pull", lambda *_: "repo/x:q4_k_m")
    monkeypatch.setattr(Path, "write_text", half)
    assert command.run(argparse.Namespace(model="medium-3b", quant=None, save=True)) == 1
    assert "set ORPHEUS_MODEL_MEDIUM_3B=repo/x:q4_k_m there" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["PORT=9000\n"]


def test_a_language_comes_in_the_quantisation_that_it_is_published_in(content, tmp_path):
    (mirror,) = load_catalog(None).models["medium-3b-fr"].gguf
    with Hub({mirror: {"Orpheus-3b-French-FT-Q8_0.gguf": content}}) as hub:
        done = pull(hub, tmp_path, "medium-3b-fr")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ORPHEUS_MODEL_MEDIUM_3B_FR={mirror}:q8_0\n"


def test_what_no_mirror_has_and_what_is_unknown_is_said(content, tmp_path):
    with Hub({MIRRORS[0]: {FILE: content}}) as hub:
        missing = pull(hub, tmp_path, "--quant", "q2_k")
        unknown = pull(hub, tmp_path, "small-1b")
    assert missing.returncode == 1
    assert f"There is no q2_k in {MIRRORS[0]}; it has q4_k_m" in missing.stderr
    assert unknown.returncode == 2
    assert "ORPHEUS_MODEL_SMALL_1B" in unknown.stderr


def test_where_nothing_can_download_the_one_command_that_changes_it_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert command.run(argparse.Namespace(model="medium-3b", quant=None, save=False)) == 1
    assert installing("gguf") in capsys.readouterr().err


def test_what_is_missing_to_speak_with_what_came_is_said(monkeypatch, capsys):
    monkeypatch.setattr(pulling, "pull", lambda *_: "repo/x:q4_k_m")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else name)
    assert command.run(argparse.Namespace(model="medium-3b", quant=None, save=False)) == 0
    told = capsys.readouterr()
    assert told.out == "ORPHEUS_MODEL_MEDIUM_3B=repo/x:q4_k_m\n"
    assert f"install xllamacpp: {installing('gguf')}" in told.err
