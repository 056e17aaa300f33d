"""What a model of vLLM computes of a checkpoint, in processes of their own: one for each card that it is split over."""

import json
import os
from pathlib import Path


def columns(directory: Path, ids: list[int], rank: int, cards: int, port: int, **given):
    """Load `directory` with our head where options `given` to EngineOptions allow it.

    Returns whether they did, float32 embeddings of `ids`, and the logits of what can be spoken for a fixed state; only
    the first of the cards has those.
    """
    import torch  # noqa: PLC0415
    from vllm.config import set_current_vllm_config  # noqa: PLC0415
    from vllm.distributed import parallel_state  # noqa: PLC0415
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415
    from vllm.model_executor.model_loader import get_model  # noqa: PLC0415

    import orpheus_openai.models.orpheus.vllm_audio_head  # noqa: F401, PLC0415  # vLLM's workers import it so
    from orpheus_openai.models.orpheus.checkpoint import read_checkpoint  # noqa: PLC0415
    from orpheus_openai.models.orpheus.spoken_ids import COLUMNS, TURN, turned  # noqa: PLC0415
    from orpheus_openai.models.orpheus.vllm_options import EngineOptions, engine_arguments  # noqa: PLC0415

    torch.accelerator.empty_cache = lambda: None  # there is none, as vLLM's worker on CPUs takes care of, too
    options = EngineOptions(dtype="float32", enforce_eager=True, **given)
    checkpoint = read_checkpoint(directory)
    arguments = engine_arguments(checkpoint, options, None)
    ours = "hf_overrides" in arguments
    taken = ("model", "hf_overrides", "dtype", "skip_tokenizer_init", "enforce_eager", "quantization")
    config = EngineArgs(
        **{name: arguments[name] for name in taken if name in arguments}
    ).create_engine_config()
    config.parallel_config.tensor_parallel_size = cards
    with set_current_vllm_config(config):
        if not parallel_state.model_parallel_is_initialized():
            os.environ["VLLM_DIST_IDENT"] = str(port)  # as its worker on CPUs does
            where = f"tcp://127.0.0.1:{port}"
            parallel_state.init_distributed_environment(cards, rank, where, rank, "gloo")
            parallel_state.initialize_model_parallel(cards)
        model = get_model(vllm_config=config)
        prompt = torch.tensor(turned(ids, checkpoint.shape.vocab_size) if ours else ids)
        state = torch.randn(3, checkpoint.shape.hidden_size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            embedded = model.embed_input_ids(prompt).numpy()
            logits = model.compute_logits(state)
        if logits is not None:
            logits = (logits if ours else logits[:, TURN : TURN + COLUMNS]).numpy()
    return ours, embedded, logits


def untie(directory: Path) -> None:
    """Give a checkpoint a head of its own."""
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    weights = load_file(directory / "model.safetensors")
    shape = weights["model.embed_tokens.weight"].shape
    weights["lm_head.weight"] = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": False}))
