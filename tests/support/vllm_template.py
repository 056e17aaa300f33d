"""To be imported in a fork server alone: all of vLLM that an engine or a server needs, for its children to have."""

import atexit
import gc
import importlib
import os

from tests.support.forked import spawn_from_template

gc.disable()
for _name in (
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.llama",
    "vllm.entrypoints.openai.api_server",
):  # and nothing of this project's: what that does as it is imported, each process has to do for itself
    importlib.import_module(_name)
gc.freeze()
gc.enable()
spawn_from_template()
atexit.register(os._exit, 0)  # libraries in C++ would complain of what they find left
