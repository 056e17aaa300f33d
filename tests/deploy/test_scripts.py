"""The two commands: what they install where, which GPU they choose, and what they say when something is missing."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
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


@pytest.fixture
def with_pip(tmp_path):
    """Make a virtual environment whose pip has a configuration and whose uv says what it is told."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)

    def with_pip(*config, uv='env | grep -E "^(UV_|SSL_CERT_FILE)" | sort; echo "uv $*"'):
        (programs / "config").write_text("".join(f"{line}\n" for line in config))
        pip = f'[ "$1" = config ] && exec cat {programs}/config; echo "pip $*"'
        for name, script in (("pip", pip), ("uv", uv)):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        return programs.parent

    return with_pip


def installed(venv, **environ):
    done = shell(f"packages {venv} thing==1", plain_environ(**environ))
    assert done.returncode == 0, done.stderr
    *settings, command = done.stdout.splitlines()
    return dict(line.split("=", 1) for line in settings), command


def test_uv_is_told_what_pip_is_told(with_pip):
    venv = with_pip(
        ":env:.find-links='/env/wheels'",
        "global.cert='/etc/ca.crt'",
        "global.constraint='/etc/constraints.txt'",
        "global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'",
        "global.find-links='/global/wheels'",
        "global.index-url='https://global.example/simple'",
        "global.timeout='60'",
        "install.index-url='https://install.example/simple'",
    )
    settings, command = installed(venv)
    assert settings == {
        "SSL_CERT_FILE": "/etc/ca.crt",
        "UV_CONSTRAINT": "/etc/constraints.txt",
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_FIND_LINKS": "/env/wheels",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert command == f"uv pip install --quiet --python {venv}/bin/python thing==1"


def test_what_uv_is_told_itself_counts_first(with_pip):
    venv = with_pip("global.index-url='https://pip.example/simple'")
    settings, _ = installed(venv, UV_DEFAULT_INDEX="https://uv.example/simple")
    assert settings["UV_DEFAULT_INDEX"] == "https://uv.example/simple"


def test_what_uv_cannot_follow_or_fails_at_is_left_to_pip(with_pip):
    by_pip = ({}, "pip install --quiet thing==1")
    assert installed(with_pip("global.proxy='http://proxy:3128'")) == by_pip
    assert installed(with_pip(uv="exit 2")) == by_pip
    venv = with_pip()
    (venv / "bin" / "uv").unlink()
    assert installed(venv) == by_pip


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
