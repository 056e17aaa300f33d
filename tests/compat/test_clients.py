"""Clients that know nothing of us: OpenAI's SDKs and curl, against a real server."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "compat" / "clients"
PYTHON = (sys.executable, str(CLIENTS / "openai_python.py"))
CURL = ("bash", str(CLIENTS / "curl.sh"))
NPM_SECONDS = 60


def run(command: Sequence[str], base_url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "BASE_URL": base_url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)


def expect_all_ok(done: subprocess.CompletedProcess[str]) -> None:
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines
    assert all(line.startswith("ok ") for line in lines), done.stdout


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the Node.js client, with the SDK installed beside a copy of it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "openai_node.mjs"):
        shutil.copy(CLIENTS / name, folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            install, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install OpenAI's SDK within {NPM_SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm could not install OpenAI's SDK: {done.stderr[-500:]}")
    return [node, str(folder / "openai_node.mjs")]


def test_openais_python_sdk_finds_all_it_expects(server_url: str) -> None:
    pytest.importorskip("openai")
    expect_all_ok(run(PYTHON, f"{server_url}/v1"))


def test_openais_node_sdk_finds_all_it_expects(server_url: str, node_client: list[str]) -> None:
    expect_all_ok(run(node_client, f"{server_url}/v1"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_finds_all_it_expects(server_url: str) -> None:
    expect_all_ok(run(CURL, f"{server_url}/v1"))


@pytest.mark.parametrize("client", [PYTHON, CURL], ids=["python", "curl"])
def test_a_client_fails_where_no_server_is(client: Sequence[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = run(client, f"http://127.0.0.1:{port}/v1")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "ok " not in done.stdout
