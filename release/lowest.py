"""The lowest versions that pyproject.toml allows, installed and tried: what it says it needs is enough."""

import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = "preview,redis,otel"
"""Those without torch and vLLM, whose lowest versions need a card to be tried."""

TOOLS = [
    "pytest>=9,<9.2",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "psutil",
    "openai",
    "hypothesis",
    "schemathesis>=4.32",
    "packaging",
]
TESTS = (
    "tests/compat/test_speech_api.py",
    "tests/native",
    "tests/audio",
    "tests/mcp/test_mcp.py",
    "tests/limits",
    "tests/text",
    "tests/cli",
    "tests/observability",
    "tests/http/test_openapi_contract.py",
)


def try_lowest(tests: tuple[str, ...] = TESTS) -> None:
    """Raises CalledProcessError where they cannot be installed or a test fails."""
    with tempfile.TemporaryDirectory() as name:
        venv = Path(name) / "venv"
        python = venv / "bin" / "python"
        subprocess.run(["uv", "venv", "--quiet", venv], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run(
            [*install, "--resolution", "lowest-direct", "-e", f"{ROOT}[{EXTRAS}]"], cwd=ROOT, check=True
        )
        listed = subprocess.run(
            ["uv", "pip", "freeze", "--quiet", "--exclude-editable", "--python", str(python)],
            check=True,
            capture_output=True,
        )
        held = Path(name) / "held.txt"
        held.write_bytes(listed.stdout)
        print(listed.stdout.decode(), flush=True)
        subprocess.run([*install, "--constraint", str(held), *TOOLS], cwd=ROOT, check=True)
        environ = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "CI": ""}
        subprocess.run([str(python), "-m", "pytest", "-q", *tests], cwd=ROOT, env=environ, check=True)
