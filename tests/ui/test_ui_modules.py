"""The page's modules without a browser: their own tests, and what TypeScript's checker says of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orpheus_openai.text.warnings import TextWarning
from tests.ui.test_ui import WORDS

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
OWN_WORDS = """
import { ownWords } from "./ui/orpheus_ui/static/js/plan.js";
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(ownWords)));
"""
CHECKER = shutil.which("tsc", path=Path(sys.executable).parent)


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_modules_own_tests_pass():
    tests = sorted(map(str, (ROOT / "tests" / "ui" / "js").glob("*.test.mjs")))
    assert tests
    done = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_page_has_its_own_words_for_all_that_the_server_warns_of_in_a_text():
    told = [each.about("<a>") for each in TextWarning]
    command = [NODE, "--input-type=module", "--eval", OWN_WORDS, json.dumps(told)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    own = json.loads(done.stdout)
    assert None not in own
    assert [WORDS["en"][each["key"]].format(**each["blanks"]) for each in own] == told


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
