"""How vLLM is to hold a model: the options, what they take of a card, and the same in vLLM's terms."""

from typing import Any, Literal

import msgspec

from orpheus_openai.models.orpheus.adapters import RANKS
from orpheus_openai.models.orpheus.checkpoint import Checkpoint
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.memory import CODEC, ONLINE_BYTES, Footprint, engine_bytes, sampler_bytes
from orpheus_openai.models.orpheus.spoken_ids import ARCHITECTURE, COLUMNS

BATCHED_TOKENS = 2048
"""Prompt tokens in one step: several prompts of Orpheus fit, and activations stay small."""

GRAPH_TOKENS = 256
"""Captured graphs reach to steps of so many tokens: prompts that come in beside streams that speak."""

FEW_STREAMS = 4
FEW_STREAMS_GRAPHS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, GRAPH_TOKENS)
"""Sizes that are captured where so few speak, in place of vLLM's steps of 8: what is larger than they are many is a
prompt, of which one comes at a time, and a third of the graphs takes a third of the memory."""

LARGEST_BLOCK = 128
"""Tokens in a block of vLLM's cache, at most (on a CPU). It sets one block aside, and starts only where one segment of
full length fits beside it."""

FP8 = "fp8_per_tensor"
"""vLLM's name for weights in 8 bits that are quantised while they are loaded; `fp8` now means files that hold them."""

_LOGITS_PROCESSOR = "orpheus_openai.models.orpheus.vllm_audio_only:AudioOnly"
_WORKER = "orpheus_openai.models.orpheus.vllm_audio_head.Worker"
_LLAMA = "LlamaForCausalLM"


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How vLLM holds a model. The defaults fit one GPU that is shared with other work."""

    max_streams: int = 8
    """Segments spoken at once; more wait inside the engine."""
    max_model_len: int = 8192
    """Tokens of prompt and speech together, or what the checkpoint was made for where that is less."""
    stream_tokens: int = 2048
    """Cache for each stream: 24 s. When all need more at once, some have to wait: slower, never wrong."""
    memory_fraction: float | None = None
    """Share of each GPU's memory; None: what the weights, all streams' cache and the engine itself take."""
    dtype: str = "auto"
    quantization: str | None = None
    """By vLLM's name, or `fp8` for `fp8_per_tensor`; None: as the checkpoint says."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """Numbers of the cache: as the weights', or 8 bits, which halve it."""
    tensor_parallel: int = 1
    """GPUs over which the weights are split."""
    enforce_eager: bool = False
    """No compilation and no captured graphs: starts sooner, speaks slower."""
    sleep_mode: bool = True
    """Whether it can be put to sleep, where it knows how; its weights are in the host's memory then."""
    codec_on_card: bool = True
    """Whether SNAC, in the server's process, has its place on the (first) card too."""
    load_format: Literal["auto", "dummy"] = "auto"
    """`dummy` makes random weights up, to measure speed without a checkpoint's."""
    adapters: int = 0
    """LoRA adapters that are held at once; 0: none, which is faster for all."""
    adapter_rank: int = 64
    """The largest rank of an adapter."""
    prefix_caching: bool = False
    """Whether what prompts begin with is kept for those after them: worth it where it is a recording."""
    gpus: tuple[int, ...] = ()
    """The cards, by the numbers that `list_gpus` gives them; none: as many as CUDA shows first."""
    stall_seconds: float = 120.0
    """A stream that gets no token for so long ends in an error."""

    def context(self, checkpoint: Checkpoint) -> int:
        """Tokens of prompt and speech together that one segment can have."""
        return min(self.max_model_len, checkpoint.shape.max_position_embeddings)

    def quantization_of(self, checkpoint: Checkpoint) -> str | None:
        """What vLLM is told: `fp8`, as it once meant and as people write it, for files of plain numbers too."""
        return FP8 if self.quantization == "fp8" and not checkpoint.quantized else self.quantization

    def whole_head_because(self, checkpoint: Checkpoint) -> str | None:
        """Why the output layer has to know all ids; None where it can be `vllm_audio_head`'s."""
        if checkpoint.shape.architectures != (_LLAMA,):
            return (
                f"it calls itself {' or '.join(checkpoint.shape.architectures) or 'nothing'} and not {_LLAMA}"
            )
        if not checkpoint.weights.plain_ends:
            return "its embedding or its output layer is quantised, or stored in another form"
        quantization = self.quantization_of(checkpoint)
        if quantization is not None and not checkpoint.quantized and quantization not in ONLINE_BYTES:
            return f"with {quantization} vLLM loads it in a way of its own"
        return None

    def cache_bytes(self, checkpoint: Checkpoint) -> int:
        """Memory on each GPU for keys and values: of all streams, at least of one segment of full length."""
        tokens = max(self.context(checkpoint) + LARGEST_BLOCK, self.max_streams * self.stream_tokens)
        number_bytes = 1 if self.kv_cache_dtype == "fp8" else self._number_bytes
        return checkpoint.shape.cache_bytes(tokens, number_bytes) // self.tensor_parallel

    def footprint(self, checkpoint: Checkpoint) -> Footprint:
        """Memory that is taken of each GPU, with the codec."""
        weights = checkpoint.weight_bytes(self._number_bytes, self.quantization_of(checkpoint))
        weights += self._head_rows(checkpoint) * checkpoint.shape.hidden_size * self._number_bytes
        weights += self._adapter_bytes(checkpoint)
        return Footprint(
            weights=weights // self.tensor_parallel,
            cache=self.cache_bytes(checkpoint),
            sampler=sampler_bytes(self._columns(checkpoint), self.max_streams),
            engine=engine_bytes(self.batched_tokens, self._graphs),
            codec=CODEC if self.codec_on_card else 0,
        )

    @property
    def batched_tokens(self) -> int:
        """Tokens of one step, prompts and streams together, at most."""
        return max(BATCHED_TOKENS, self.max_streams)

    @property
    def graph_sizes(self) -> tuple[int, ...]:
        """Tokens of the steps whose kernels are captured as one, as vLLM would choose them but where few speak."""
        if self.enforce_eager:
            return ()
        if self.max_streams <= FEW_STREAMS:
            return FEW_STREAMS_GRAPHS
        largest = max(GRAPH_TOKENS, min(512, 2 * self.max_streams))
        return (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16))

    @property
    def _graphs(self) -> int:
        """Captured graphs: one of each size for any step, and one for steps in which all streams speak on."""
        return sum(1 + (size <= self.max_streams) for size in self.graph_sizes)

    def fitted(self, checkpoint: Checkpoint, free: int) -> "EngineOptions | None":
        """The same with as many of its streams as fit beside the codec into `free` bytes of each GPU.

        None where not even one does.
        """
        low, high = 0, self.max_streams
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.with_streams(middle).footprint(checkpoint).of_engine <= free
            low, high = (middle, high) if fits else (low, middle - 1)
        return self.with_streams(low) if low else None

    def with_streams(self, streams: int) -> "EngineOptions":
        """The same for another number of streams."""
        return msgspec.structs.replace(self, max_streams=streams)

    def _columns(self, checkpoint: Checkpoint) -> int:
        """Logits that a step gives of each stream."""
        return COLUMNS if self.whole_head_because(checkpoint) is None else checkpoint.shape.vocab_size

    def _head_rows(self, checkpoint: Checkpoint) -> int:
        """Rows that the engine holds of the head more than the files do."""
        if self.whole_head_because(checkpoint) is not None:
            return 0
        if not checkpoint.shape.tie_word_embeddings:
            return COLUMNS - checkpoint.shape.vocab_size
        return COLUMNS if self.tensor_parallel > 1 else 0

    def _adapter_bytes(self, checkpoint: Checkpoint) -> int:
        """What the places of adapters take, used or not: of each linear layer a row and a column for each rank."""
        if not self.adapters:
            return 0
        numbers = checkpoint.weights.linear_edges * self.adapter_rank * (self.adapters + 1)
        return numbers * self._number_bytes

    @property
    def _number_bytes(self) -> int:
        return 4 if self.dtype == "float32" else 2  # `auto` makes half of float32 checkpoints, too


def engine_arguments(
    checkpoint: Checkpoint, options: EngineOptions, gpu_memory: int | None
) -> dict[str, Any]:
    """Put options in vLLM's terms; `gpu_memory` is the total of one GPU in bytes, None without a GPU.

    vLLM's own default takes nine tenths of the GPU; these take what the model needs to speak.
    """
    arguments: dict[str, Any] = {}
    if options.memory_fraction is not None:
        arguments["gpu_memory_utilization"] = options.memory_fraction
    else:
        arguments["kv_cache_memory_bytes"] = options.cache_bytes(checkpoint)
        if gpu_memory is not None:
            # With a cache of fixed size it only asks whether so much is free, and that after CUDA has taken its part.
            held = options.footprint(checkpoint)
            arguments["gpu_memory_utilization"] = min(0.95, (held.weights + held.cache) / gpu_memory)
    if gpu_memory is not None and options.graph_sizes:
        arguments["cudagraph_capture_sizes"] = list(options.graph_sizes)
    if options.whole_head_because(checkpoint) is None:
        arguments["hf_overrides"] = {"architectures": [ARCHITECTURE]}
        arguments["worker_extension_cls"] = _WORKER
    if options.adapters:
        places = options.adapters + 1  # vLLM up to 0.32 gives the last place's adapter to streams without one
        arguments |= {
            "enable_lora": True,
            "max_loras": places,
            "max_cpu_loras": places,
            "max_lora_rank": next(rank for rank in RANKS if rank >= options.adapter_rank),
        }
    return {
        "model": str(checkpoint.directory),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "load_format": options.load_format,
        "use_tqdm_on_load": False,
        "dtype": options.dtype,
        "quantization": options.quantization_of(checkpoint),
        "kv_cache_dtype": options.kv_cache_dtype,
        "tensor_parallel_size": options.tensor_parallel,
        "enforce_eager": options.enforce_eager,
        "max_model_len": options.context(checkpoint),
        "max_num_seqs": options.max_streams,
        "max_num_batched_tokens": options.batched_tokens,
        # A newcomer's first segment goes before what others want ahead of their listeners.
        "scheduling_policy": "priority",
        # Most prompts share a voice's name and little else: hashing them for reuse costs more than it saves.
        "enable_prefix_caching": options.prefix_caching,
        "stream_interval": TOKENS_PER_FRAME,
        "logits_processors": [_LOGITS_PROCESSOR],
        "disable_log_stats": True,
        **arguments,
    }
