"""Whether what was built can be installed and runs, outside the checkout."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ("preview", "redis", "otel")
"""Extras that are installed and run on any machine; the others take gigabytes, and are resolved alone unless asked."""

START_SECONDS = 120
SPEECH_BYTES = 5_000
"""Of MP3, which two words take at least."""

NOT_FOR_USERS = "test"


def extras() -> list[str]:
    """The extras that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name != NOT_FOR_USERS]


def build(folder: Path) -> tuple[Path, Path]:
    """Source distribution and wheel, in `folder`; the wheel is made from the checkout's own files."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def try_all(sdist: Path, wheel: Path, *, heavy: bool) -> None:
    """Install and run both with each extra; raises CalledProcessError or AssertionError where one does not work."""
    for extra in extras():
        install = ("uv", "pip", "install", "--quiet")
        with tempfile.TemporaryDirectory() as name:
            venv = Path(name) / "venv"
            subprocess.run(["uv", "venv", "--quiet", venv], check=True)
            runs = heavy or extra in RUN
            dry = () if runs else ("--dry-run",)
            subprocess.run(
                [*install, *dry, "--python", venv / "bin" / "python", f"{wheel}[{extra}]"], check=True
            )
            if runs:
                check_commands([str(venv / "bin" / "orpheus-openai")], Path(name))
        print(f"{extra}: {'installed and run' if runs else 'resolved'}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for built in (wheel, sdist):
            check_server(["uvx", "--quiet", "--from", f"{built}[preview]", "orpheus-openai"], Path(name))
            print(f"uvx --from {built.name}[preview] orpheus-openai serve: speaks", flush=True)


def check_commands(program: list[str], folder: Path) -> None:
    """The commands that need no model."""
    for command in ("--version", "voices", "models"):
        subprocess.run([*program, command], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)


def check_server(program: list[str], folder: Path) -> None:
    """The server starts, shows its pages and speaks."""
    with serving(program, folder) as url:
        for path in ("/", "/ui/page.css", "/ui/fonts/inter-latin.woff2", "/apidocs", "/apidocs/openapi.json"):
            with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:  # noqa: S310  our own server
                assert answer.status == HTTPStatus.OK, path
        request = urllib.request.Request(  # noqa: S310  our own server
            f"{url}/v1/audio/speech",
            data=json.dumps({"model": "tts-1", "voice": "alloy", "input": "Hello there."}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  our own server
            assert len(answer.read()) > SPEECH_BYTES


@contextlib.contextmanager
def serving(program: list[str], folder: Path) -> Iterator[str]:
    """A server of `program` on a free port of this machine; yields its URL."""
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*program, "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=folder,
            stderr=file,
            env=_environment(),
        )
    try:
        yield _url(process, log)
    finally:
        process.terminate()
        process.wait(30)


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("ORPHEUS_", "PYTHON"))
    } | {"ORPHEUS_MODEL": "preview"}


def _url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The address that the banner tells."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.split()[:1] == ["API"]:
                return line.split()[1].removesuffix("/v1")
        time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")
