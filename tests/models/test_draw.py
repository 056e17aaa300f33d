"""The next id of a frame: the published distribution within its slot, in NumPy and in the kernel for GPUs."""

import concurrent.futures
import importlib.util
import multiprocessing

import numpy as np
import pytest

from orpheus_openai.models.orpheus.draw import ARGUMENT, NO_ID, Draw, choose, draw_of, place_after, uniform
from tests.support.interpreted import VOCABULARY, compile_kernel, interpreting, kernel_draws

pytestmark = [pytest.mark.timeout(300)]

FIRST_AUDIO, START, END = 128_266, 128_257, 128_258
PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, START]
NONE = np.array([], dtype=np.intp)
with_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
with_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def published(logits, repeated, draw):
    """The probabilities that the authors' sampler gives: penalty, temperature, softmax, then top-p, step by step."""
    values = [float(value) for value in logits]
    for index in set(repeated):
        values[index] *= draw.repetition_penalty if values[index] <= 0 else 1 / draw.repetition_penalty
    weights = np.exp(np.array(values) / draw.temperature)
    chances = weights / weights.sum()
    kept, mass = np.zeros_like(chances), 0.0
    for index in sorted(range(len(chances)), key=lambda index: -chances[index]):
        if mass >= draw.top_p:
            break
        kept[index] = chances[index]
        mass += chances[index]
    return kept / kept.sum()


@pytest.mark.parametrize(
    ("temperature", "top_p", "penalty"), [(0.6, 0.9, 1.1), (0.6, 0.8, 1.3), (1.0, 1.0, 1.0), (1.7, 0.5, 1.1)]
)
def test_many_draws_follow_the_published_distribution(temperature, top_p, penalty):
    logits = np.random.default_rng(1).normal(scale=2, size=60).astype(np.float32)
    repeated = np.array([int(logits.argmax()), 3, 3, 20], dtype=np.intp)
    draws, count = 20_000, np.zeros(60)
    for number in range(draws):
        draw = Draw(temperature, top_p, penalty, seed=7)
        count[choose(logits, repeated, draw, number)] += 1
    expected = published(logits, repeated, draw) * draws
    assert not count[expected == 0].any()
    drawn = expected > 0
    # Chi-square: its mean is the degrees of freedom, its deviation the root of twice as much.
    chi_square = ((count - expected)[drawn] ** 2 / expected[drawn]).sum()
    freedom = drawn.sum() - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom) + 5


def test_draws_of_different_seeds_and_places_are_independent():
    numbers = np.array([[uniform(seed, count) for count in range(100)] for seed in range(200)])
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.03
    assert len(np.unique(numbers)) > 0.99 * numbers.size


def test_a_temperature_of_zero_takes_the_likeliest_after_the_penalty():
    logits = np.array([1.0, 3.0, 2.9], dtype=np.float32)
    assert choose(logits, NONE, Draw(0.0, 0.9, 1.1, 1), 0) == 1
    assert choose(logits, np.array([1]), Draw(0.0, 0.9, 1.1, 1), 0) == 2


def test_what_is_no_number_is_never_drawn():
    logits = np.array([np.nan, 0.0, -np.inf, np.nan], dtype=np.float32)
    for temperature in (0.0, 0.6):
        assert choose(logits, NONE, Draw(temperature, 0.9, 1.1, 1), 0) == 1
        assert choose(logits[[0, 2]], NONE, Draw(temperature, 0.9, 1.1, 1), 0) is None
    assert choose(np.array([0.0, np.inf], dtype=np.float32), NONE, Draw(0.6, 0.9, 1.1, 1), 0) == 1


def test_the_end_comes_between_frames_and_the_start_only_where_the_prompt_left_it_to_the_model():
    for count in range(21):
        place = place_after(count, FIRST_AUDIO if count else None, in_speech=True)
        assert (place.slot, place.ends, place.starts) == (count % 7, count % 7 == 0, False)
    opening = place_after(0, None, in_speech=False)
    assert opening.candidates() == ([START, END], FIRST_AUDIO)
    for count in range(21):
        assert place_after(count + 1, START, in_speech=False).slot == count % 7
        assert place_after(count + 1, FIRST_AUDIO, in_speech=False).slot == (count + 1) % 7


@pytest.mark.parametrize(
    "given",
    [
        [0.6],
        [0.6, 0.0, 1.1, 1],
        [-1, 0.9, 1.1, 1],
        [0.6, 0.9, 0, 1],
        ["a", 1, 1, 1],
        [0.6, 0.9, 1.1, -1],
        5,
        None,
    ],
)
def test_an_argument_that_says_nothing_sensible_is_refused_in_words(given):
    with pytest.raises(ValueError, match="must be four numbers"):
        draw_of({ARGUMENT: given})


def test_the_argument_survives_its_way_to_the_engine():
    draw = Draw(0.6, 0.9, 1.1, 2**63 - 1)
    assert draw_of(draw.argument()) == draw
    assert draw_of(None) is draw_of({"other": 1}) is None


def cases():
    """Rows of all kinds: every slot, prompts with and without a recording or a start, temperatures, broken numbers."""
    numbers = np.random.default_rng(3)
    recording = [
        FIRST_AUDIO + int(code) + 4_096 * (n % 7) for n, code in enumerate(numbers.integers(0, 4_096, 1_400))
    ]
    prompts, outputs, draws, logits = [], [], [], []
    for row in range(42):
        prompt = [PROMPT, PROMPT[:-1], [128_259, START, *recording, END, *PROMPT]][row % 3]
        output = [START] if row % 6 == 1 else []
        output += [FIRST_AUDIO + int(numbers.integers(0, 40)) + 4_096 * (n % 7) for n in range(row)]
        prompts.append(prompt)
        outputs.append(output if row != 3 else [])
        seed = int(numbers.integers(0, 2**63 - 1))
        draws.append(
            Draw([0.0, 0.6, 1.5, 0.6][row % 4], [0.9, 0.3, 1.0][row % 3], [1.1, 1.0, 1.5][row % 3], seed)
        )
        logits.append(numbers.normal(scale=3, size=VOCABULARY).astype(np.float32))
    logits[5][:] = np.nan
    logits[6][::2] = np.nan
    logits[7][FIRST_AUDIO + 9] = np.inf
    logits[7][END] = 50
    logits[8][:] = 0.0
    return prompts, outputs, draws, np.array(logits)


@with_triton
@with_torch
@pytest.mark.parametrize("base", [0, 128_256])
def test_the_kernel_draws_what_the_formulas_draw(base):
    from orpheus_openai.models.orpheus.draw_state import Row  # noqa: PLC0415  needs torch

    prompts, outputs, draws, logits = cases()
    if base:
        logits = logits[:, base:]
        prompts, outputs = (
            [[(token - base) % VOCABULARY for token in row] for row in ids] for ids in (prompts, outputs)
        )
    rows = [
        Row(draw, prompt, output, base) for prompt, output, draw in zip(prompts, outputs, draws, strict=True)
    ]
    expected = [row.draw_from(numbers) for row, numbers in zip(rows, logits, strict=True)]
    with interpreting() as pool:
        drawn, alone = pool.submit(kernel_draws, logits, prompts, outputs, draws, base).result()
    assert alone
    assert drawn == expected
    assert drawn.count(NO_ID - base) == 1
    for row, token in zip(rows, drawn, strict=True):
        others, first = row.place.candidates(base)
        assert token in others or first <= token < first + 4_096 or token == NO_ID - base


@with_triton
@with_torch
def test_the_kernel_compiles_for_gpus_from_ampere_on():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(compile_kernel, (80, 90))) == ["sm_80", "sm_90"]
