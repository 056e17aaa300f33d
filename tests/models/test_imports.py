"""What is imported once and stays is no matter for Python's garbage collector."""

import gc
import subprocess
import sys

import pytest

from orpheus_openai.models.imports import lasting_import

PROGRAM = """
import contextlib, gc
from orpheus_openai.models.imports import lasting_import

with contextlib.suppress(ImportError), lasting_import("no_such_package"):
    imported = [[] for _ in range(5_000)]
    meanwhile = gc.isenabled()
    {end}
print(meanwhile, gc.isenabled(), gc.get_freeze_count() > 5_000)
"""


@pytest.mark.parametrize("end", ["pass", "raise ImportError"])
def test_an_import_is_not_looked_through_for_garbage_then_or_later(end):
    program = [sys.executable, "-c", PROGRAM.format(end=end)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_a_server_starts_without_what_only_some_of_its_users_need():
    program = (
        "import sys; from orpheus_openai.app import create_app; from orpheus_openai.settings import Settings\n"
        "create_app(Settings(model='preview')); print({'pydantic', 'httpx', 'fastmcp', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"


def test_what_is_imported_already_changes_nothing():
    frozen = gc.get_freeze_count()
    with lasting_import("pytest"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
