"""The two commands: what they install where, which GPU they choose, and what they say when something is missing."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
SMI = """#!/bin/sh
set -e  # a reader that has left is an error to the real one, too
case "$*" in
  -L) echo "GPU 0: NVIDIA H200 (UUID: GPU-a)"; sleep 0.1; echo "GPU 1: NVIDIA H200 (UUID: GPU-b)" ;;
  *) echo "0, 20000, 0"; sleep 0.1; echo "1, 300, 90"; echo "2, 300, 5" ;;
esac
"""


@pytest.fixture
def with_gpus(tmp_path):
    """A PATH on which nvidia-smi tells of three cards."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    return {"PATH": f"{smi.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def shell(command, environ, folder=ROOT):
    script = f"set -euo pipefail; source '{ROOT}/setup.sh'; {command}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def plain_environ(**more):
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **more}


@pytest.mark.parametrize(("names", "known"), [("sh", True), ("nothing/sh", True), ("nothing/nobody", False)])
def test_a_program_may_have_alternatives(names, known):
    assert (shell(f"has_program {names}", plain_environ()).returncode == 0) == known


def test_the_idlest_gpu_has_least_memory_in_use_then_least_load(with_gpus):
    assert shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", with_gpus).stdout == "2\n"


@pytest.mark.parametrize("name", ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_the_users_choice_of_a_gpu_wins(with_gpus, name):
    done = shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", {**with_gpus, name: "0"})
    assert done.stdout == "0\n"


def test_a_choice_in_the_env_file_counts(with_gpus, tmp_path):
    (tmp_path / ".env").write_text(
        '# NVIDIA_VISIBLE_DEVICES=7\nNVIDIA_VISIBLE_DEVICES="1"  # the quiet one\n'
    )
    assert shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", with_gpus, tmp_path).stdout == "1\n"


def test_the_profile_follows_the_machine(with_gpus, tmp_path):
    remote = {"ORPHEUS_REMOTE_URL": "http://gpu-box:8000/v1"}
    assert shell("choose_profile", plain_environ(), tmp_path).stdout == "preview"
    assert shell("choose_profile", with_gpus, tmp_path).stdout == "gpu"
    assert shell("choose_profile", {**with_gpus, **remote}, tmp_path).stdout == "orpheus"
    (tmp_path / ".env").write_text("ORPHEUS_REMOTE_URL=http://gpu-box:8000/v1\n")
    assert shell("choose_profile", plain_environ(), tmp_path).stdout == "orpheus"


def test_a_missing_python_is_explained_in_words(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "dirname", "sed", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["bash", str(ROOT / "start.sh")],
        env={"PATH": str(tools), "SETUP_PROFILE": "preview"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt install python3" in done.stderr


def start(folder, *arguments):
    """Run start.sh from elsewhere until the server answers; returns what it said and how long it took."""
    environ = {**os.environ, "ORPHEUS_HOST": "127.0.0.1", "ORPHEUS_MODEL": "preview"}
    began = time.monotonic()
    process = subprocess.Popen(
        [str(folder / "start.sh"), *arguments], cwd="/", env=environ, stderr=subprocess.PIPE, text=True
    )
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"Health\s+(\S+)", line):
                assert httpx.get(found.group(1), timeout=10).json()["status"] == "ok"
                return said, time.monotonic() - began
        pytest.fail(said)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@pytest.mark.timeout(400)
def test_a_fresh_clone_serves_after_one_command_and_starts_at_once_the_second_time(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    first, _ = start(clone, "--port", "0")
    second, _ = start(clone, "--port", "0")
    assert "setting up" in first
    assert "setting up" not in second
    for door in ("Page", "API", "Docs"):
        assert door in second
