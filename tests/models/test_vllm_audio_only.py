"""Which tokens may be drawn, for both interfaces of vLLM's samplers, without an engine."""

import importlib
import importlib.util
from types import SimpleNamespace

import pytest

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(120),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

VOCABULARY = 156_940
FIRST_AUDIO, START, END = 128_266, 128_257, 128_258
CONFIG = SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: VOCABULARY))
IN_SPEECH = SimpleNamespace(extra_args={"orpheus_in_speech": True})
NOT_YET = SimpleNamespace(extra_args=None)


def drawable(row):
    return set(row.isfinite().nonzero().flatten().tolist())


def of_place(place):
    codes = set(range(FIRST_AUDIO + 4_096 * place, FIRST_AUDIO + 4_096 * (place + 1)))
    return codes | {END} if place == 0 else codes


ANYWHERE = {START, END, *range(FIRST_AUDIO, FIRST_AUDIO + 7 * 4_096)}


@pytest.fixture(scope="module")
def torch():
    return importlib.import_module("torch")


@pytest.fixture(scope="module")
def audio_only():
    return importlib.import_module("orpheus_openai.models.orpheus.vllm_audio_only")


@pytest.fixture
def masked(torch):
    """Apply a processor to logits that allow everything, and return the ids each row may draw."""

    def masked(processor, rows, context=None):
        return [drawable(row) for row in processor.apply(torch.zeros(rows, VOCABULARY), context)]

    return masked


def batch(*, removed=(), added=(), moved=()):
    return SimpleNamespace(removed=removed, added=added, moved=moved)


def test_rows_follow_their_requests_in_the_older_sampler(masked, torch, audio_only):
    processor = audio_only.AudioOnly(CONFIG, torch.device("cpu"), False)
    first, second, third = [], [-1] * 3, [-1] * 9
    added = [(0, IN_SPEECH, [], first), (1, IN_SPEECH, [], second), (2, NOT_YET, [], third)]
    processor.update_state(batch(added=added))
    assert masked(processor, 3) == [of_place(0), of_place(3), ANYWHERE]
    first.append(-1)
    second.append(-1)
    processor.update_state(None)
    assert masked(processor, 3) == [of_place(1), of_place(4), ANYWHERE]
    processor.update_state(batch(moved=[(1, 2, audio_only.MoveDirectionality.SWAP)]))
    assert masked(processor, 3) == [of_place(1), ANYWHERE, of_place(4)]
    processor.update_state(batch(removed=[0], moved=[(2, 0, audio_only.MoveDirectionality.UNIDIRECTIONAL)]))
    assert masked(processor, 2) == [of_place(4), ANYWHERE]
    processor.update_state(batch(removed=[0], added=[(0, NOT_YET, [], [])]))
    assert masked(processor, 2) == [ANYWHERE, ANYWHERE]


def test_rows_follow_their_requests_in_the_newer_sampler(masked, torch, audio_only):
    lengths = torch.tensor([10, 20, 30, 0])
    prompts = SimpleNamespace(gpu=lengths)
    requests = SimpleNamespace(device=torch.device("cpu"), max_num_reqs=4, prompt_len=prompts)
    processor = audio_only.AudioOnly(CONFIG, requests)
    assert all(processor.add_request(slot, IN_SPEECH) for slot in range(3))

    def context(**rows):
        return SimpleNamespace(**{name: torch.tensor(values) for name, values in rows.items()})

    step = context(expanded_idx_mapping=[2, 0, 1], pos=[29, 9 + 6, 19 + 7])
    assert masked(processor, 3, step) == [of_place(0), of_place(6), of_place(0)]
    processor.add_request(0, NOT_YET)
    assert masked(processor, 3, step) == [of_place(0), ANYWHERE, of_place(0)]


def test_greedy_requests_are_masked_too(torch, audio_only):
    assert not audio_only.AudioOnly(CONFIG, torch.device("cpu"), False).is_argmax_invariant()
