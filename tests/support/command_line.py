"""`orpheus-openai`, run as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("ORPHEUS_")},
    "ORPHEUS_MODEL": "preview",
    "PORT": "0",  # where no server is looked for
    "PYTHONUTF8": "1",
}


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
