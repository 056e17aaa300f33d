"""Our logits processor in vLLM's own samplers, the older and the newer, without an engine."""

import importlib
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from orpheus_openai.models.orpheus.draw import Draw
from tests.support.interpreted import VOCABULARY, interpreting, newer_sampler_draws

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

FIRST_AUDIO, START, END = 128_266, 128_257, 128_258
PROMPT = [128_259, 5, START]
LLAMA = SimpleNamespace(architectures=["LlamaForCausalLM"])
CONFIG = SimpleNamespace(model_config=SimpleNamespace(seed=0, hf_config=LLAMA))
DRAWS = [Draw(0.6, 0.9, 1.1, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def torch():
    return importlib.import_module("torch")


@pytest.fixture(scope="module")
def audio_only():
    return importlib.import_module("orpheus_openai.models.orpheus.vllm_audio_only")


@pytest.fixture
def processor(torch, audio_only):
    return audio_only.AudioOnly(CONFIG, torch.device("cpu"), False)


def batch(size, *, removed=(), added=(), moved=()):
    interface = importlib.import_module("vllm.v1.sample.logits_processor.interface")
    return interface.BatchUpdate(batch_size=size, removed=removed, added=added, moved=moved)


def parameters(**given):
    return importlib.import_module("vllm").SamplingParams(**given)


def ours(draw):
    return parameters(temperature=0.0, extra_args=draw.argument())


def speech(count):
    return [FIRST_AUDIO + 17 + 4_096 * (n % 7) for n in range(count)]


def logits(rows):
    return np.random.default_rng(2).normal(scale=3, size=(rows, VOCABULARY)).astype(np.float32)


@pytest.fixture
def drawn(torch, processor):
    """Let the processor work on the same logits for each row, and return what is left to vLLM."""

    def drawn(rows):
        numbers = torch.from_numpy(logits(1)).repeat(rows, 1)
        left = processor.apply(numbers)
        assert left.isfinite().sum(1).tolist() == [1] * rows
        return left.argmax(1).tolist()

    return drawn


def test_rows_follow_their_requests_in_the_older_sampler(drawn, processor, audio_only):
    outputs = [speech(0), speech(3), speech(9)]
    processor.update_state(
        batch(3, added=[(n, ours(draw), PROMPT, outputs[n]) for n, draw in enumerate(DRAWS)])
    )
    first = drawn(3)
    assert [(token - FIRST_AUDIO) // 4_096 for token in first] == [0, 3, 2]
    processor.update_state(None)
    assert drawn(3) == first
    processor.update_state(batch(3, moved=[(1, 2, audio_only.MoveDirectionality.SWAP)]))
    assert drawn(3) == [first[0], first[2], first[1]]
    processor.update_state(
        batch(2, removed=[0], moved=[(2, 0, audio_only.MoveDirectionality.UNIDIRECTIONAL)])
    )
    assert drawn(2) == [first[1], first[2]]
    outputs[1].append(first[1])
    processor.update_state(None)
    assert [(token - FIRST_AUDIO) // 4_096 for token in drawn(2)] == [4, 2]
    # Put off, and taken up again in another row with the ids so far: it goes on as it would have.
    goes_on = drawn(2)[0]
    processor.update_state(batch(2, removed=[0], added=[(0, ours(DRAWS[0]), PROMPT, [])]))
    processor.update_state(batch(3, added=[(2, ours(DRAWS[1]), PROMPT, list(outputs[1]))]))
    assert drawn(3)[2] == goes_on


def test_rows_of_no_request_are_left_alone(torch, processor):
    numbers = torch.zeros(2, VOCABULARY)
    assert torch.equal(processor.apply(numbers.clone()), numbers)


def test_greedy_requests_need_it_too(processor):
    assert not processor.is_argmax_invariant()


def test_bad_arguments_are_refused_when_the_request_comes_in(audio_only):
    audio_only.AudioOnly.validate_params(parameters())
    with pytest.raises(ValueError, match="must be four numbers"):
        audio_only.AudioOnly.validate_params(parameters(extra_args={"orpheus_draw": [2]}))


def test_a_gpu_of_the_older_sampler_keeps_the_ids_that_the_kernel_reads(torch):
    """Its lines follow rows that come, grow, move and go; ids that are not in yet are written when they are."""
    state = importlib.import_module("orpheus_openai.models.orpheus.draw_state")
    history = state.History(3, 40, torch.device("cpu"))
    outputs = [speech(0), speech(5), speech(2)]
    rows = {n: state.Row(draw, PROMPT, outputs[n], 0) for n, draw in enumerate(DRAWS)}
    for row in rows.values():
        history.enter(row)

    def held(count):
        lines, positions = history.follow(rows, count)
        return [
            history.tokens[line, : last + 1].tolist() for line, last in zip(lines, positions, strict=True)
        ]

    assert held(3) == [PROMPT + output for output in outputs]
    outputs[0] += [-1]
    held(3)
    outputs[0][-1] = FIRST_AUDIO
    outputs[2] += speech(4)[2:]
    assert held(3) == [PROMPT + output for output in outputs]
    history.leave(rows.pop(1))
    rows[1] = rows.pop(2)
    newcomer = state.Row(DRAWS[0], PROMPT + PROMPT, speech(1), 0)
    history.enter(newcomer)
    rows[2] = newcomer
    assert held(3) == [PROMPT + outputs[0], PROMPT + outputs[2], PROMPT + PROMPT + speech(1)]
    lines, _ = history.follow(rows, 4)
    temperatures, *_ = history.parameters.on_device()
    assert temperatures[lines].tolist() == pytest.approx([0.6, 0.6, 0.6, -1.0])


def test_the_newer_sampler_draws_what_the_older_does(torch, audio_only, processor):
    told = parameters(temperature=0.7, repetition_penalty=1.1, seed=4)
    requests = [(PROMPT, speech(n), ours(draw)) for n, draw in zip((0, 8, 20), DRAWS, strict=True)]
    requests.append((PROMPT[:-1], [START, *speech(13)], told))
    numbers = logits(4)
    processor.update_state(
        batch(4, added=[(n, told, prompt, output) for n, (prompt, output, told) in enumerate(requests)])
    )
    expected = processor.apply(torch.from_numpy(numbers.copy())).argmax(1).tolist()
    assert [(token - FIRST_AUDIO) // 4_096 for token in expected] == [0, 1, 6, 6]
    as_told = [{"temperature": 0.0, "extra_args": draw.argument()} for draw in DRAWS] + [
        {"temperature": 0.7, "repetition_penalty": 1.1, "seed": 4}
    ]
    asked = [(prompt, output, given) for (prompt, output, _), given in zip(requests, as_told, strict=True)]
    with interpreting() as pool:
        turned, again = pool.submit(newer_sampler_draws, asked, numbers).result()
    assert turned == again == expected
