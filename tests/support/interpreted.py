"""What runs in a process of its own, where Triton interprets kernels: it must be told so before it is imported."""

import contextlib
import multiprocessing
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

VOCABULARY = 156_940


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"


@contextlib.contextmanager
def interpreting() -> Iterator[ProcessPoolExecutor]:
    """Give a pool of one such process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_interpret) as pool:
        yield pool


def kernel_draws(logits, prompts, outputs, draws, base=0):
    """Let the kernel draw for rows of float32 `logits`; returns ids, and whether each was left as the only choice."""
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.draw_kernel import WARPS, draw_rows  # noqa: PLC0415

    rows, width = len(logits), max(len(p) + len(o) for p, o in zip(prompts, outputs, strict=True))
    tokens = torch.zeros(rows, width, dtype=torch.int32)
    for row, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        tokens[row, : len(prompt) + len(output)] = torch.tensor(prompt + output, dtype=torch.int32)
    numbers = torch.from_numpy(logits.copy())
    lengths = [len(prompt) for prompt in prompts]
    positions = [len(p) + len(o) - 1 for p, o in zip(prompts, outputs, strict=True)]
    draw_rows[(rows,)](
        *(numbers, numbers.stride(0), numbers.shape[1], base),
        *(torch.arange(rows), tokens, tokens.stride(0), torch.tensor(lengths), torch.tensor(positions)),
        *(torch.tensor([draw.temperature for draw in draws]), torch.tensor([draw.top_p for draw in draws])),
        *(
            torch.tensor([draw.repetition_penalty for draw in draws]),
            torch.tensor([draw.seed for draw in draws]),
        ),
        num_warps=WARPS,
    )
    alone = (numbers.isfinite().sum(1) == 1) & (numbers.max(1).values == 0)
    return numbers.argmax(1).tolist(), bool(alone.all())


class NewerSampler:
    """vLLM's newer sampler with its own classes, on the CPU; its kernels are interpreted, too."""

    def __init__(self, requests: int = 4, length: int = 64) -> None:
        import torch  # noqa: PLC0415
        import triton  # noqa: PLC0415
        import vllm.triton_utils  # noqa: PLC0415

        # It does without Triton where it finds no GPU.
        vllm.triton_utils.triton, vllm.triton_utils.tl = triton, triton.language
        import vllm.v1.worker.cpu.shm  # noqa: PLC0415  # as its own runner on CPUs does
        from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors  # noqa: PLC0415
        from vllm.v1.worker.gpu.sample.sampler import Sampler  # noqa: PLC0415
        from vllm.v1.worker.gpu.states import RequestState  # noqa: PLC0415

        cpu = torch.device("cpu")
        config = SimpleNamespace(
            model_config=SimpleNamespace(
                seed=0, hf_config=SimpleNamespace(architectures=["LlamaForCausalLM"])
            ),
            speculative_config=None,
            reasoning_config=None,
        )
        self.states = RequestState(requests, length, length, 0, VOCABULARY, cpu)
        ours = build_custom_logits_processors(
            config, self.states, False, ["orpheus_openai.models.orpheus.vllm_audio_only:AudioOnly"]
        )
        self.sampler = Sampler(config, requests, VOCABULARY, cpu, self.states, custom_logits_processors=ours)

    def add(self, name: str, prompt: list[int], output: list[int], **parameters) -> None:
        from vllm import SamplingParams  # noqa: PLC0415

        ids = prompt + output
        self.states.add_request(name, len(prompt), ids, len(ids) - 1, 100)
        self.sampler.add_request(self.states.req_id_to_index[name], SamplingParams(**parameters))
        self.states.apply_staged_writes()
        self.sampler.apply_staged_writes()

    def sample(self, names: list[str], logits) -> list[int]:
        """Draw once for the named requests, from a row of logits each."""
        import numpy as np  # noqa: PLC0415
        import torch  # noqa: PLC0415

        slots = np.array([self.states.req_id_to_index[name] for name in names], dtype=np.int32)
        lengths = self.states.total_len.gpu[torch.from_numpy(slots).long()]
        rows = torch.from_numpy(slots)
        ids, _ = self.sampler.sample(
            *(torch.from_numpy(logits.copy()), rows, rows, slots, (lengths - 1).long()),
            *(torch.zeros(len(names), dtype=torch.int32), torch.zeros(len(names), dtype=torch.int32)),
            lengths.numpy(),
        )
        return ids.tolist()


def newer_sampler_draws(requests, logits):
    """Let vLLM's newer sampler draw for requests, each a prompt, an output and parameters, in two orders of rows."""
    sampler = NewerSampler()
    names = [str(index) for index in range(len(requests))]
    for name, (prompt, output, parameters) in zip(names, requests, strict=True):
        sampler.add(name, prompt, output, **parameters)
    turned = sampler.sample(names[::-1], logits[::-1])
    # A slot that is given back and taken again, with what was drawn so far: as after a preemption.
    for name in names:
        sampler.states.remove_request(name)
    for name, (prompt, output, parameters) in zip(names, requests, strict=True):
        sampler.add(name, prompt, output, **parameters)
    return turned[::-1], sampler.sample(names, logits)


def compile_kernel(architecture):
    """Compile the kernel for an NVIDIA GPU down to machine code, and say for which; needs none."""
    os.environ.pop("TRITON_INTERPRET", None)
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415
    from triton.compiler import compile as compiled  # noqa: PLC0415

    from orpheus_openai.models.orpheus.draw_kernel import WARPS, draw_rows  # noqa: PLC0415

    types = "*fp32 i64 i32 i32 *i32 *i32 i64 *i32 *i64 *fp32 *fp32 *fp32 *i64".split()
    source = ASTSource(draw_rows, dict(zip(draw_rows.arg_names, types, strict=True)), constexprs={})
    kernel = compiled(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": WARPS})
    return target_of(kernel.asm)


def target_of(code):
    """The architecture that there is machine code for."""
    return code["cubin"] and re.search(r"\.target (sm_\d+)", code["ptx"])[1]
