"""SNAC on a "card" whose kernels Triton interprets on the CPU; runs in a process of `interpreted.interpreting`."""

import os

import numpy as np

from tests.support.interpreted import target_of

NARROW = 32
"""Channels of a decoder that is interpreted in a second."""
TILE = (8_192, 1_024)
"""One program for each layer and stream: the interpreter pays by the program."""
POINTERS = dict.fromkeys(
    ("x", "added", "past", "following", "out", "around", "noise", "taps", "bias", "rescale", "shift"), "*fp32"
) | {"seeds": "*i64", "positions": "*i64"}


def narrow():
    """Return the folded network, and a copy of its package's model."""
    from orpheus_openai.models.orpheus.snac_weights import fold_decoder  # noqa: PLC0415
    from tests.support.tiny_snac import tiny_snac  # noqa: PLC0415

    model = tiny_snac(decoder_dim=NARROW)
    return fold_decoder(model), model


def samples(fused, utterances, hops, *, precision="fp32", noise=None):
    """Decode utterances side by side, taken in by `hops`; float samples, from the fused network or the other."""
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.snac_fused import FusedNetwork  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_network import Step  # noqa: PLC0415

    network, _ = narrow()
    if fused:
        network = FusedNetwork(network, torch.float16 if precision == "fp16" else torch.float32, TILE)
    codes = torch.from_numpy(np.stack(utterances)).long()
    place, state, parts = 0, None, []
    with torch.inference_mode():
        for hop in hops:
            step = Step(hop, first=place == 0, last=place + hop >= codes.shape[1])
            drawn = None
            if noise is not None:
                drawn = torch.from_numpy(
                    np.stack([stream.draw(network.noise_lengths(step)) for stream in noise])
                )
            part, state = network.run(step, codes[:, place : place + hop], state, drawn)
            parts.append(part.float().numpy())
            place += hop
    assert place == codes.shape[1]
    return np.concatenate(parts, 1)


def card_speech(utterances, seed, *, rows):
    """Speak utterances through a CardRunner as streams that come and go; int16 of each, and the rows left free."""
    from orpheus_openai.models.orpheus import snac_card  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_noise import StreamNoise  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_runner import StreamMemory  # noqa: PLC0415

    network, _ = narrow()
    runner = snac_card.CardRunner(network, noise=True, rows=rows)
    runner._network._tile = TILE
    memories = [StreamMemory(StreamNoise(runner.noise_blocks, seed + n)) for n in range(len(utterances))]
    places, heard = [0] * len(utterances), [[] for _ in utterances]
    while any(place < len(frames) for place, frames in zip(places, utterances, strict=True)):
        due = {}
        for n, (place, frames) in enumerate(zip(places, utterances, strict=True)):
            if place < len(frames):
                hop = min(1 if place else START_FRAMES, len(frames) - place)
                step = Step(hop, first=place == 0, last=place + hop == len(frames))
                due.setdefault(step, []).append(n)
        for step, members in due.items():
            frames = [utterances[n][places[n] : places[n] + step.frames] for n in members]
            for n, pcm in zip(members, runner.run(step, frames, [memories[n] for n in members]), strict=True):
                heard[n].append(pcm)
                places[n] += step.frames
    return [np.concatenate(parts) for parts in heard], len(runner._free), len(runner._table) - 1


def drawn_on_card(seeds, positions, frames):
    """Draw a step's noise with the kernel."""
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.snac_fused import FusedNetwork  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_network import Step  # noqa: PLC0415

    network = FusedNetwork(narrow()[0], tile=TILE)
    drawn = network.draw(Step(frames), torch.tensor(seeds), torch.tensor(positions))
    return drawn.numpy(), network.noise_lengths(Step(frames))


def compile_kernels(architecture):
    """Compile every kernel for an NVIDIA GPU down to machine code, and say for which; needs none."""
    os.environ.pop("TRITON_INTERPRET", None)
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415
    from triton.compiler import compile as compiled  # noqa: PLC0415

    from orpheus_openai.models.orpheus import snac_kernels  # noqa: PLC0415

    targets = []
    for kernel in (snac_kernels.filtered, snac_kernels.paired, snac_kernels.ended, snac_kernels.drawn):
        constants = dict.fromkeys(("PAST", "FOLLOWING", "NOISE", "RESIDUAL"), True) | {
            "TIMES": 32,
            "CHANNELS": 64,
        }
        chosen = {name: value for name, value in constants.items() if name in kernel.arg_names}
        types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(chosen, "constexpr")
        types |= {name: kind for name, kind in POINTERS.items() if name in types}
        source = ASTSource(kernel, types, constexprs=chosen)
        targets.append(target_of(compiled(source, target=GPUTarget("cuda", architecture, 32)).asm))
    return targets
