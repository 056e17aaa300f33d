"""Whether a vLLM has every name that this server uses, by its sources alone: nothing is installed or imported.

python -m benchmarks.vllm_names vllm-0.33.0-….whl …   (pip download --no-deps vllm==0.33.0)
"""

import argparse
import ast
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.cards import ORPHEUS_3B
from orpheus_openai.models.orpheus.checkpoint import Checkpoint
from orpheus_openai.models.orpheus.vllm_engine import ENVIRONMENT
from orpheus_openai.models.orpheus.vllm_options import FP8, EngineOptions, engine_arguments

NAMES: Mapping[str, set[str]] = {
    "v1/engine/async_llm.py": {
        *("AsyncLLM", "from_engine_args", "generate", "prompt", "sampling_params", "request_id", "priority"),
        *("sleep", "level", "wake_up", "shutdown", "errored", "output_handler", "vllm_config"),
        *("add_lora", "remove_lora", "lora_request"),
    },
    "lora/request.py": {"LoRARequest", "lora_name", "lora_int_id", "lora_path"},
    "sampling_params.py": {
        *(
            "SamplingParams",
            "temperature",
            "top_p",
            "repetition_penalty",
            "max_tokens",
            "seed",
            "stop_token_ids",
        ),
        *("detokenize", "output_kind", "extra_args", "RequestOutputKind", "DELTA", "ignore_eos"),
    },
    "platforms/interface.py": {"is_cpu", "is_sleep_mode_available", "get_device_total_memory"},
    "v1/executor/uniproc_executor.py": {"UniProcExecutor"},
    "v1/sample/logits_processor/__init__.py": {"LogitsProcessor", "MoveDirectionality"},
    "v1/worker/gpu/sample/logits_processor/__init__.py": {"LogitsProcessor"},
    "v1/worker/gpu/sample/logits_processor/interface.py": {
        *("all_token_ids", "prompt_len", "max_num_reqs", "device", "expanded_idx_mapping", "pos"),
    },
    "model_executor/models/registry.py": {"ModelRegistry", "register_model"},
    "model_executor/models/llama.py": {"LlamaForCausalLM", "load_weights", "logits_processor", "lm_head"},
    "model_executor/layers/vocab_parallel_embedding.py": {"ParallelLMHead"},
    "model_executor/layers/logits_processor.py": {"LogitsProcessor"},
    "distributed/parallel_state.py": {"get_pp_group", "get_tensor_model_parallel_world_size"},
    "model_executor/layers/quantization/__init__.py": {FP8, "fp8"},
    "config/cache.py": {"auto", "fp8"},
    "config/scheduler.py": {"priority"},
    "envs.py": {*ENVIRONMENT, "VLLM_CACHE_ROOT", "VLLM_BATCH_INVARIANT"},
}
"""Files of the package → names and words in them: classes, functions, parameters, attributes, values."""


def engine_names(checkpoint: Checkpoint) -> set[str]:
    """The engine arguments that the server may give."""
    every = (EngineOptions(), EngineOptions(memory_fraction=0.5), EngineOptions(adapters=1))
    given = {name for options in every for name in engine_arguments(checkpoint, options, 1 << 40)}
    return given | {"enable_sleep_mode", "distributed_executor_backend"}


def missing(read: Callable[[str], str], arguments: set[str]) -> list[str]:
    """What is not there, as `file: name`; `read` gives a file of the package by its path."""
    wanted = {**NAMES, "engine/arg_utils.py": arguments}
    return [
        f"{path}: {name}" for path, names in wanted.items() for name in sorted(names - _names(read(path)))
    ]


def _names(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
                | ast.arg(arg=name)
            ):
                found.add(name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name)
            case ast.Constant(value=str(name)):
                found.add(name)
    return found


def main() -> None:

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", nargs="+", type=Path)
    failed = False
    for wheel in parser.parse_args().wheels:
        with zipfile.ZipFile(wheel) as archive:

            def read(path: str, archive: zipfile.ZipFile = archive) -> str:
                return archive.read(f"vllm/{path}").decode()

            gaps = missing(read, engine_names(ORPHEUS_3B))
        count = len(engine_names(ORPHEUS_3B)) + sum(map(len, NAMES.values()))
        print(f"{wheel.name}: {count - len(gaps)} of {count} names", *gaps, sep="\n  ")
        failed = failed or bool(gaps)
    sys.exit(failed)


if __name__ == "__main__":
    main()
