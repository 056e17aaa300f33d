"""The page's modules without a browser: their own tests, and what TypeScript's checker says of them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
CHECKER = shutil.which("tsc", path=Path(sys.executable).parent)


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_modules_own_tests_pass():
    tests = sorted(map(str, (ROOT / "tests" / "ui" / "js").glob("*.test.mjs")))
    assert tests
    done = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(CHECKER is None, reason="needs npm, for TypeScript's checker")
def test_typescript_finds_nothing_wrong_with_them():
    done = subprocess.run(
        [CHECKER, "-p", "ui/tsconfig.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
