"""`orpheus-openai`, run as a person runs it."""

import subprocess
import sys
from pathlib import Path

from tests.support.environment import environ

ENVIRON = environ(PORT="0", PYTHONUTF8="1")
"""With no port on which a server would be looked for."""


def run(
    *arguments: str | bytes, folder: Path, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """One command, with the preview model and without a server; `environ` is added to the environment."""
    return subprocess.run(
        [sys.executable, "-m", "orpheus_openai", *arguments],
        cwd=folder,
        env={**ENVIRON, **environ},
        input=stdin,
        capture_output=True,
        timeout=110,
        check=False,
    )
