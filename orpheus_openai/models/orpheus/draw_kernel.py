"""What `draw` does, for all rows of a step at once on a GPU; formulas and constants are explained there.

One program for each row: the ids so far are counted into the slot's codebook, the least weight of the nucleus is found
by bisection over the bits of the weights (which order as the weights do), and what the draw falls on is left as the
row's only choice.
"""

import triton
import triton.language as tl

from orpheus_openai.models.orpheus.splitmix_kernel import mixed

CODES = tl.constexpr(4_096)
SLOTS = tl.constexpr(7)
START, END, FIRST_CODE = tl.constexpr(128_257), tl.constexpr(128_258), tl.constexpr(128_266)
NO_ID = tl.constexpr(128_256)
GREEDY_BELOW = tl.constexpr(1e-5)
WEIGHT_BITS = tl.constexpr(0x3F800000)
"""Of 1.0, the largest weight."""
CHUNK = tl.constexpr(1_024)
WARPS = 8


@triton.jit
def draw_rows(
    logits,  # float32 (rows, vocabulary): -inf everywhere afterwards, but 0 at the id that was drawn
    logits_stride,
    vocabulary,
    base,  # what the logits' columns are counted from
    requests,  # (rows,): which request a row belongs to
    tokens,  # int32: ids of the requests, prompt first
    tokens_stride,  # between requests
    prompt_lengths,  # (requests,)
    positions,  # (rows,): where the last id of the row's request stands among its tokens
    temperatures,  # float32 (requests,), as the following two
    top_ps,
    penalties,
    seeds,  # int64 (requests,)
):
    """Draw for the row that this program is; a temperature below 0 marks requests that others draw for."""
    row = tl.program_id(0).to(tl.int64)
    request = tl.load(requests + row).to(tl.int64)
    temperature = tl.load(temperatures + request)
    if temperature < 0:
        return
    history = tokens + request * tokens_stride
    length = tl.load(positions + row).to(tl.int32) + 1
    prompt = tl.load(prompt_lengths + request).to(tl.int32)
    count = tl.maximum(length - prompt, 0)  # in the middle of a prompt what is drawn is thrown away

    # Where the next id stands in its frame.
    in_speech = tl.load(history + prompt - 1, mask=prompt > 0, other=-1) == START - base
    first = tl.load(history + prompt, mask=count > 0, other=-1)
    in_frames = count - ((in_speech == 0) & (first == START - base)).to(tl.int32)
    slot = in_frames % SLOTS
    first_code = FIRST_CODE - base + slot * CODES
    starts = (in_speech == 0) & (count == 0)

    line = logits + row * logits_stride
    codes = tl.arange(0, CODES)
    largest = 3.4028234663852886e38
    nothing = -float("inf")
    values = tl.load(line + first_code + codes)
    values = tl.where(values == values, tl.minimum(values, largest), nothing)
    end = tl.load(line + END - base)
    end = tl.where((slot == 0) & (end == end), tl.minimum(end, largest), nothing)
    start = tl.load(line + START - base)
    start = tl.where(starts & (start == start), tl.minimum(start, largest), nothing)

    penalty = tl.load(penalties + request)
    if penalty != 1.0:
        times = tl.zeros([CODES], dtype=tl.int32)
        ends = 0
        opened = 0
        for offset in range(0, length, CHUNK):
            at = offset + tl.arange(0, CHUNK)
            token = tl.load(history + at, mask=at < length, other=-1)
            code = token - first_code
            of_slot = (code >= 0) & (code < CODES)
            times += tl.histogram(tl.where(of_slot, code, 0), CODES, mask=of_slot)
            ends += tl.sum((token == END - base).to(tl.int32))
            opened += tl.sum((token == START - base).to(tl.int32))
        values = tl.where(times > 0, tl.where(values > 0, values / penalty, values * penalty), values)
        end = tl.where(ends > 0, tl.where(end > 0, end / penalty, end * penalty), end)
        start = tl.where(opened > 0, tl.where(start > 0, start / penalty, start * penalty), start)

    top = tl.max(values)
    best = tl.maximum(top, tl.maximum(end, start))
    if best == nothing:
        drawn = NO_ID - base
    elif temperature < GREEDY_BELOW:
        drawn = first_code + tl.argmax(values, 0)
        drawn = tl.where(end >= top, END - base, drawn)
        drawn = tl.where((start >= top) & (start >= end), START - base, drawn)
    else:
        weights = tl.exp((values - best) / temperature)
        end_weight = tl.exp((end - best) / temperature)
        start_weight = tl.exp((start - best) / temperature)
        top_p = tl.load(top_ps + request)
        if top_p < 1.0:
            needed = top_p * (tl.sum(weights) + end_weight + start_weight)
            low = 0
            high = WEIGHT_BITS + 0
            while low < high:
                middle = low + (high - low + 1) // 2
                least = middle.to(tl.float32, bitcast=True)
                mass = tl.sum(tl.where(weights >= least, weights, 0.0))
                mass += tl.where(end_weight >= least, end_weight, 0.0)
                mass += tl.where(start_weight >= least, start_weight, 0.0)
                low = tl.where(mass >= needed, middle, low)
                high = tl.where(mass >= needed, high, middle - 1)
            least = low.to(tl.float32, bitcast=True)
            weights = tl.where(weights >= least, weights, 0.0)
            end_weight = tl.where(end_weight >= least, end_weight, 0.0)
            start_weight = tl.where(start_weight >= least, start_weight, 0.0)
        seed = tl.load(seeds + request).to(tl.uint64)
        word = mixed(mixed(seed) ^ count.to(tl.uint64))
        uniform = (word >> 40).to(tl.float32) * 5.9604644775390625e-08
        target = uniform * (tl.sum(weights) + end_weight + start_weight)
        rest = target - start_weight - end_weight
        # Sums that are taken in another order differ in their last bits: only what has a weight can be drawn.
        reached = (tl.cumsum(weights, 0) > rest) & (weights > 0)
        last = tl.max(tl.where(weights > 0, codes, -1))
        code = tl.minimum(tl.min(tl.where(reached, codes, CODES)), last)
        drawn = first_code + code
        drawn = tl.where((target < start_weight + end_weight) | (last < 0), END - base, drawn)
        drawn = tl.where((target < start_weight) | ((last < 0) & (end_weight == 0)), START - base, drawn)

    for offset in range(0, vocabulary, CODES):
        at = offset + codes
        tl.store(line + at, tl.where(at == drawn, 0.0, nothing), mask=at < vocabulary)
