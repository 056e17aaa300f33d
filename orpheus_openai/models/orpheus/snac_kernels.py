"""What `snac_fused` launches on a GPU: all that lies between two matrix products, each in one pass over memory.

Activations are (batch, time, channels), rows of a batch `…_stride` apart, channels together. A layer sees its new
inputs behind `before` older ones: those in `past`, or zeros at the start; beyond either end stand zeros. Numbers may be
stored in half; here they are float32.
"""

import triton
import triton.language as tl

from orpheus_openai.models.orpheus.splitmix_kernel import mixed

KERNEL = tl.constexpr(7)
INVERSE_PI = tl.constexpr(0.3183098861837907)
PI_HIGH = tl.constexpr(3.140625)  # π in two parts: the first has few bits, so that its multiples are exact
PI_LOW = tl.constexpr(9.67653589793e-4)
TWO_PI = tl.constexpr(6.283185307179586)
LAYERS = ["before", "length", "kept", "outputs", "dilation"]


@triton.jit
def snake(z):
    """Return z + sin² z; the sine by its series within half a turn, exact to float32's last bits there."""
    turns = tl.floor(z * INVERSE_PI + 0.5)
    r = (z - turns * PI_HIGH) - turns * PI_LOW
    q = r * r
    series = -1.0 / 5040 + q * (1.0 / 362880 + q * (-1.0 / 39916800))
    sine = r + r * q * (-1.0 / 6 + q * (1.0 / 120 + q * series))
    return z + sine * sine


@triton.jit
def joined(
    x, added, noise, past, at, channel, before, length, channels, PAST: tl.constexpr, NOISE: tl.constexpr
):
    """The inputs `at` (times) of `channel`s: those before, the new ones with their noise, zeros beyond."""
    new = at - before
    live = (channel < channels)[None, :]
    inside = (new >= 0) & (new < length)
    place = new[:, None] * channels + channel[None, :]
    value = tl.load(x + place, mask=inside[:, None] & live, other=0.0).to(tl.float32)
    if NOISE:
        weight = tl.load(added + place, mask=inside[:, None] & live, other=0.0).to(tl.float32)
        value += weight * tl.load(noise + new, mask=inside, other=0.0)[:, None]
    if PAST:
        older = (at >= 0) & (at < before)
        place = at[:, None] * channels + channel[None, :]
        value += tl.load(past + place, mask=older[:, None] & live, other=0.0).to(tl.float32)
    return value


@triton.jit(do_not_specialize=LAYERS)
def filtered(
    x,
    x_stride,
    added,  # what a number of noise adds, laid out as x is, its rows `length` times together
    noise,
    noise_stride,
    past,
    past_stride,
    following,  # takes the newest `kept` inputs
    following_stride,
    taps,  # (channels, KERNEL)
    bias,
    rescale,  # (channels,): what the input is multiplied by on its way around the layer …
    shift,  # … and what is added to it there
    out,  # (batch, outputs, channels), together
    around,  # the same
    before,
    length,
    kept,
    outputs,
    dilation,
    channels,
    PAST: tl.constexpr,
    FOLLOWING: tl.constexpr,
    NOISE: tl.constexpr,
    RESIDUAL: tl.constexpr,  # the layer stands between two snakes, and its input goes around it
    TIMES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """A depthwise convolution, for TIMES outputs of CHANNELS channels of one stream."""
    row = tl.program_id(0).to(tl.int64)
    time = tl.program_id(1) * TIMES + tl.arange(0, TIMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    live = channel < channels
    x += row * x_stride
    added += row * length * channels
    noise += row * noise_stride
    past += row * past_stride
    result = tl.zeros([TIMES, CHANNELS], dtype=tl.float32)
    result += tl.load(bias + channel, mask=live, other=0.0)[None, :]
    wanted = (time < outputs)[:, None] & live[None, :]
    place = (row * outputs + time)[:, None] * channels + channel[None, :]
    for tap in tl.static_range(KERNEL):
        at = time + tap * dilation
        value = joined(x, added, noise, past, at, channel, before, length, channels, PAST, NOISE)
        if RESIDUAL:
            if tap == KERNEL // 2:
                scale = tl.load(rescale + channel, mask=live, other=0.0)[None, :]
                moved = value * scale + tl.load(shift + channel, mask=live, other=0.0)[None, :]
                tl.store(around + place, moved, mask=wanted)
            value = snake(value)
        result += value * tl.load(taps + channel * KERNEL + tap, mask=live, other=0.0)[None, :]
    if RESIDUAL:
        result = snake(result)
    tl.store(out + place, result, mask=wanted)
    if FOLLOWING:
        at = time + before + length - kept
        value = joined(x, added, noise, past, at, channel, before, length, channels, PAST, NOISE)
        place = time[:, None] * channels + channel[None, :]
        tl.store(
            following + row * following_stride + place, value, mask=(time < kept)[:, None] & live[None, :]
        )


@triton.jit(do_not_specialize=["length", "rows"])
def paired(
    x,
    x_stride,
    past,
    past_stride,
    following,
    following_stride,
    out,  # (batch, rows - 1, 2 * channels), together: each input beside the next one
    length,
    rows,  # inputs: one before, `length` new ones, and one beyond the end where the utterance ends
    channels,
    PAST: tl.constexpr,
    FOLLOWING: tl.constexpr,
    TIMES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """A snake, and neighbours side by side, for the product that a transposed convolution is."""
    row = tl.program_id(0).to(tl.int64)
    time = tl.program_id(1) * TIMES + tl.arange(0, TIMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    live = (channel < channels)[None, :]
    x += row * x_stride
    value = joined(x, x, x, past + row * past_stride, time, channel, 1, length, channels, PAST, False)
    if FOLLOWING:
        newest = (time == length)[:, None] & live
        line = following + row * following_stride + channel[None, :] + time[:, None] * 0
        tl.store(line, value, mask=newest)
    value = snake(value)
    place = (row * (rows - 1) + time)[:, None] * (2 * channels) + channel[None, :]
    tl.store(out + place, value, mask=(time < rows - 1)[:, None] & live)
    inner = ((time > 0) & (time < rows))[:, None] & live
    tl.store(out + place - channels, value, mask=inner)


@triton.jit(do_not_specialize=LAYERS)
def ended(
    x,
    x_stride,
    past,
    past_stride,
    following,
    following_stride,
    taps,  # (KERNEL, channels)
    bias,  # (1,)
    out,  # float32, (batch, outputs), together
    before,
    length,
    kept,
    outputs,
    dilation,
    channels,
    PAST: tl.constexpr,
    FOLLOWING: tl.constexpr,
    TIMES: tl.constexpr,
    CHANNELS: tl.constexpr,  # all of them
):
    """The last snake and layer: samples, between -1 and 1."""
    row = tl.program_id(0).to(tl.int64)
    time = tl.program_id(1) * TIMES + tl.arange(0, TIMES)
    channel = tl.arange(0, CHANNELS)
    live = channel < channels
    x += row * x_stride
    past += row * past_stride
    total = tl.zeros([TIMES, CHANNELS], dtype=tl.float32)
    for tap in tl.static_range(KERNEL):
        at = time + tap * dilation
        value = joined(x, x, x, past, at, channel, before, length, channels, PAST, False)
        total += snake(value) * tl.load(taps + tap * channels + channel, mask=live, other=0.0)[None, :]
    sums = tl.sum(total, 1) + tl.load(bias)
    tl.store(out + row * outputs + time, 1.0 - 2.0 / (tl.exp(2.0 * sums) + 1.0), mask=time < outputs)
    if FOLLOWING:
        at = time + before + length - kept
        value = joined(x, x, x, past, at, channel, before, length, channels, PAST, False)
        place = time[:, None] * channels + channel[None, :]
        tl.store(
            following + row * following_stride + place, value, mask=(time < kept)[:, None] & live[None, :]
        )


@triton.jit(do_not_specialize=["block", "length"])
def drawn(
    seeds,  # int64
    seeds_stride,
    positions,  # int64: how many numbers the block has had
    positions_stride,
    out,  # float32
    out_stride,
    block,
    length,
    TIMES: tl.constexpr,
):
    """Standard normal numbers of one block of one stream, as `snac_noise` draws them."""
    row = tl.program_id(0).to(tl.int64)
    time = tl.program_id(1) * TIMES + tl.arange(0, TIMES)
    seed = tl.load(seeds + row * seeds_stride).to(tl.uint64)
    index = tl.load(positions + row * positions_stride) + time
    pair = (index >> 1).to(tl.uint64) | (block.to(tl.uint64) << 48)
    word = mixed(mixed(seed) ^ pair)
    first = ((word >> 40).to(tl.float32) + 1.0) * 5.9604644775390625e-08
    angle = (word & 0xFFFFFF).to(tl.float32) * (5.9604644775390625e-08 * TWO_PI)
    radius = tl.sqrt(-2.0 * tl.log(first))
    value = radius * tl.where((index & 1) == 0, tl.cos(angle), tl.sin(angle))
    tl.store(out + row * out_stride + time, value, mask=time < length)
