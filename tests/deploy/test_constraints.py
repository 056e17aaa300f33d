"""The versions that are installed: one for each package that is asked for, and one that will do."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    "cpu.txt": ["preview", "orpheus", "gguf", "redis", "otel", "test"],
    "gpu.txt": ["preview", "orpheus", "gpu", "redis", "otel"],
}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file):
    lines = (ROOT / "constraints" / file).read_text(encoding="utf-8").splitlines()
    for requirement in (Requirement(line) for line in lines if line and not line.startswith("#")):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is no version, and asks for whatever is newest"
        assert requirement.url is None, f"{requirement} tells where it is fetched from"
        yield canonical(requirement.name), specifier.version


@pytest.mark.parametrize("file", EXTRAS)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(file):
    pinned = {}
    for name, version in pins(file):
        pinned.setdefault(name, []).append(version)
    wanted = [
        *PROJECT["dependencies"],
        *(r for e in EXTRAS[file] for r in PROJECT["optional-dependencies"][e]),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == PROJECT["name"]:
            continue
        versions = pinned.get(canonical(requirement.name), [])
        assert versions, f"{requirement} is not pinned in {file}; constraints/refresh.sh does it"
        for version in versions:
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{requirement}: {version}; refresh"
            )
