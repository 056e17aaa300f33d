"""Every setting there is: its type, its limits, its default and the sentence that the documentation shows.

What a setting is beyond its type stands in `Meta(extra=…)`:
`variable`, a name that is older than this project or not its own; `secret`, never shown; `check`, for each entry of
a list or the whole text, which gives it back as it is used or raises ValueError; `expected`, what a pattern means
in words; `example`, a value that would do.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orpheus_openai.settings import checks


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the user decides; checked, and never changed afterwards."""

    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port to listen on; 0 lets the system choose.",
            extra={"variable": "PORT"},
        ),
    ] = 8899
    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "0.0.0.0"  # noqa: S104
    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="The default model, for which OpenAI's names (`tts-1`, …) stand. "
            "`auto`: medium-3b where it can run or another setting asks for Orpheus, else preview.",
        ),
    ] = "auto"
    checkpoints: Annotated[
        dict[str, str],
        Meta(
            description="`ORPHEUS_MODEL_SMALL_1B`, `ORPHEUS_MODEL_TINY_400M`, `ORPHEUS_MODEL_NANO_150M`, "
            "`ORPHEUS_MODEL_MEDIUM_3B`, `ORPHEUS_MODEL_MEDIUM_3B_FR`, …: the checkpoint of a model, a folder or a "
            "Hugging Face repo id."
        ),
    ] = {}
    catalog: Annotated[
        Path | None, Meta(description="A TOML file of your own with more models, voices and aliases.")
    ] = None
    voices: Annotated[
        Path,
        Meta(
            description="The folder of voices that were added (see docs/voices.md); several servers may share it."
        ),
    ] = Path("voices")
    adapters: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="LoRA adapters that a model holds at once, for voices of the kind `adapter`; 0: none, "
            "which in vLLM is faster for all. See docs/voices.md.",
        ),
    ] = 0
    adapter_rank: Annotated[
        int,
        Meta(ge=1, le=512, description="The largest rank of an adapter; memory for each is set aside."),
    ] = 64
    voice_consent: Annotated[
        Literal["required", "off"],
        Meta(
            description="Whether a voice made of a recording needs the consent of its speaker; `off` is for a private "
            "machine."
        ),
    ] = "required"
    max_voices_per_key: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Voices, and consents, that one key (or without keys everybody together) may have added over "
            "the API; 0: none.",
        ),
    ] = 20
    gpu_idle_timeout: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds without a request after which a model leaves the GPU; 0: never.",
            extra={"variable": "GPU_IDLE_TIMEOUT"},
        ),
    ] = 60.0
    unload_timeout: Annotated[
        float,
        Meta(
            ge=0, description="Seconds after which a model that went to sleep is unloaded for good; 0: never."
        ),
    ] = 600.0
    mode: Annotated[
        Literal["single", "multi", "hybrid"],
        Meta(
            description="Which models stay loaded: `single`, the one that is spoken with; `multi`, all, loaded at the "
            "start; `hybrid`, those in ORPHEUS_PINNED, others on demand."
        ),
    ] = "single"
    pinned: Annotated[
        tuple[str, ...],
        Meta(description="Models, separated by commas, that are loaded at the start and never unloaded."),
    ] = ()
    nvidia_visible_devices: Annotated[
        str,
        Meta(
            description="The GPUs to use, as indexes, UUIDs or MIG slices; empty: `start.sh` takes the idlest, or as "
            "many of them as ORPHEUS_TENSOR_PARALLEL says.",
            extra={"variable": "NVIDIA_VISIBLE_DEVICES"},
        ),
    ] = ""
    device: Annotated[
        Literal["auto", "cuda", "cpu"],
        Meta(description="Where Orpheus runs. `cpu` is for trying things out: far below real time."),
    ] = "auto"
    snac: Annotated[
        str, Meta(min_length=1, description="The codec's checkpoint, a folder or a Hugging Face repo id.")
    ] = "hubertsiuzdak/snac_24khz"
    snac_device: Annotated[
        Literal["auto", "cpu"],
        Meta(
            description="Where the codec runs: `auto`, on the model's card where there is one; `cpu` leaves its "
            "0.9 GiB there to others, and takes about 0.15 of a core for each stream. See docs/scaling.md."
        ),
    ] = "auto"
    snac_noise: Annotated[
        str,
        Meta(
            pattern=r"^(on|off|\d{1,18})$",
            description="The codec's noise: `on`, `off`, or a number that seeds it so that the same tokens give the "
            "same sound.",
            extra={"expected": "on, off or a whole number of at most 18 digits"},
        ),
    ] = "on"
    snac_precision: Annotated[
        Literal["fp32", "tf32", "fp16"],
        Meta(
            description="How a GPU computes the codec: `fp32` exactly; `tf32` and `fp16` faster, with an error; see "
            "docs/architecture.md. A CPU computes in fp32."
        ),
    ] = "fp32"
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        Meta(description="Number format of Orpheus' weights."),
    ] = "auto"
    quantization: Annotated[
        str,
        Meta(
            description="Weights quantised while they are loaded: `fp8`, or any name of vLLM's; empty: as the "
            "checkpoint is."
        ),
    ] = ""
    kv_cache_dtype: Annotated[
        Literal["auto", "fp8"],
        Meta(description="The streams' cache: as the weights are, or in 8 bits, in half the memory."),
    ] = "auto"
    llama_server: Annotated[
        str,
        Meta(
            description="A `llama-server` of your own for GGUF files, e.g. one built for CUDA, ROCm or Vulkan; empty: "
            "the package xllamacpp."
        ),
    ] = ""
    gpu_layers: Annotated[
        Annotated[int, Meta(ge=0, le=1000)] | None,  # msgspec takes limits for a number alone
        Meta(
            description="Layers of a GGUF file that llama.cpp puts on the graphics card; 0: none; empty: as many "
            "as fit.",
        ),
    ] = None
    llama_threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(
            description="Threads with which llama.cpp calculates; empty: the physical cores but one, which is the "
            "codec's.",
        ),
    ] = None
    tensor_parallel: Annotated[int, Meta(ge=1, le=64, description="GPUs one model is spread over.")] = 1
    max_model_len: Annotated[
        int, Meta(ge=256, le=131_072, description="Longest prompt and speech of one segment, in tokens.")
    ] = 4096
    max_streams: Annotated[
        str,
        Meta(
            pattern=r"^(auto|[1-9]\d{0,2}|10[01]\d|102[0-4])$",
            description="Segments one model speaks at the same time; more wait their turn. Each takes about 0.23 GiB "
            "with medium-3b. `auto`: as many as fit beside what others hold on the card, 64 at most (8 on a CPU, and "
            "with several models on a card); a number that does not fit is lowered. See docs/scaling.md.",
            extra={"expected": "auto or a whole number from 1 to 1024"},
        ),
    ] = "auto"
    remote_url: Annotated[
        tuple[str, ...],
        Meta(
            description="OpenAI-compatible completions servers that hold the model, separated by commas; "
            "see docs/remote.md.",
            extra={"check": checks.url("http", "https"), "example": "http://127.0.0.1:8000/v1"},
        ),
    ] = ()
    remote_api_key: Annotated[
        str, Meta(description="The key those servers ask for.", extra={"secret": True})
    ] = ""
    remote_model: Annotated[
        str, Meta(description="The model's name on those servers; empty: the first one they list.")
    ] = ""
    max_input_chars: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Longest text of one request, in characters.")
    ] = 50_000
    load_wait: Annotated[
        float, Meta(ge=1, le=3600, description="Seconds a request waits for its model to load.")
    ] = 600.0
    api_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Keys, separated by commas, one of which every request must bring as `Authorization: Bearer` "
            "(or `x-api-key`, `api-key`, `xi-api-key`): "
            "`name:key`, `name:sha256:HEX` with the key's SHA-256 in place of the key, or just a key; "
            "`:admin` behind the first two makes an admin (see docs/security.md). Empty: everybody may use the server.",
            extra={"secret": True},
        ),
    ] = ()
    open_lists: Annotated[
        bool,
        Meta(
            description="Whether the names of voices and models that speak (`/v1/audio/voices`, `/v1/audio/models`) "
            "may be read without a key, as Open WebUI reads them."
        ),
    ] = True
    rate_limit: Annotated[
        str,
        Meta(
            description="What one key, or without keys one address, may ask for, e.g. "
            "`60/minute,20000 chars/minute` (second, minute, hour or day); empty: no limit."
        ),
    ] = ""
    redis_url: Annotated[
        str,
        Meta(
            description="Redis in which several servers count rates together, e.g. `redis://127.0.0.1:6379/0`; "
            "empty: each counts its own.",
            extra={
                "secret": True,
                "check": checks.url("redis", "rediss", "unix"),
                "example": "redis://127.0.0.1:6379/0",
            },
        ),
    ] = ""
    buffer: Annotated[
        str,
        Meta(
            pattern=r"^(auto|off|[1-9]|[1-9]\d|1[01]\d|120)$",
            description="What a stream holds back before its first sound: `auto`, where a GGUF file is spoken more "
            "slowly than it is heard, enough for it not to fall silent half way, 30 seconds at most; `off`, nothing; "
            "or so many seconds of audio. See docs/hardware.md.",
            extra={"expected": "auto, off or a whole number from 1 to 120"},
        ),
    ] = "auto"
    verify: Annotated[
        Literal["off", "report", "retry"],
        Meta(
            description="What is done about segments of Orpheus' that repeat themselves, fall silent, have a length "
            "that no reading of their text has, never end or lost frames: `retry`, spoken again as long as nobody "
            "hears them, twice at most; `report`, told; `off`, nothing. With both, what runs away is ended. See "
            "docs/verification.md."
        ),
    ] = "retry"
    verify_words: Annotated[
        Literal["off", "report", "retry"],
        Meta(
            description="The same for segments in which, by eSpeak NG's reading of their text, words are missing or "
            "were said twice: a guess, unlike the others. Without effect where ORPHEUS_VERIFY is `off`."
        ),
    ] = "report"
    max_concurrent: Annotated[
        str,
        Meta(
            pattern=r"^(auto|[1-9]\d{0,4}|100000)$",
            description="Requests for speech that are served at the same time; others wait. `auto`: as many as "
            "the loaded models have streams; with a remote engine, which counts for itself, as many as there are "
            "connections; 64 where there is no such number.",
            extra={"expected": "auto or a whole number from 1 to 100000"},
        ),
    ] = "auto"
    max_concurrent_per_caller: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="How many of them one key, or without keys one address, may have under way, those that wait "
            "included; one more is answered 429; 0: no limit of their own.",
        ),
    ] = 0
    max_queue: Annotated[
        int,
        Meta(
            ge=0, le=100_000, description="Requests that may wait for their turn; one more is answered 429."
        ),
    ] = 64
    queue_wait: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="Seconds a request waits for its turn before it is answered 429."),
    ] = 60.0
    request_timeout: Annotated[
        float,
        Meta(ge=0, description="Seconds a request may take from its arrival to its last byte; 0: no limit."),
    ] = 7200.0
    stall_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds after which a connection is closed on which nothing moves any more, neither a "
            "request's body nor, because nobody reads it, its answer; 0: never.",
        ),
    ] = 120.0
    min_read_speed: Annotated[
        float,
        Meta(
            ge=0,
            description="How fast speech must be read on the whole, in multiples of the speed at which it is played: "
            "at 0.5 a listener may take twice as long as playing takes, and ORPHEUS_STALL_TIMEOUT on top; 0: as "
            "slowly as they like.",
        ),
    ] = 0.5
    text_pause: Annotated[
        float,
        Meta(
            ge=0.05,
            le=60,
            description="Where a text comes in while it is written: seconds without more of it after which what can "
            "stand alone is spoken, though its sentence may not be over.",
        ),
    ] = 0.7
    text_wait: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Seconds for which a speech waits for more of such a text, in the place of others, before it "
            "ends with an error.",
        ),
    ] = 20.0
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Connections there may be at the same time; one more is answered 503 and closed.",
        ),
    ] = 1000
    max_connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="How many of them one address may have (IPv6: one /64 network); this machine and trusted "
            "proxies may have all.",
        ),
    ] = 256
    text_cleaning: Annotated[
        bool,
        Meta(
            description="Whether Markdown, HTML, thoughts, code, emoji and citations are left out of speech, and stage "
            "directions such as `[laughs]` acted; a request's `text_cleaning` goes before it."
        ),
    ] = True
    numbers: Annotated[
        Literal["words", "as_is"],
        Meta(
            description="How figures and signs (prices, dates, times, units, …) are given to a voice: in words, or as "
            "they stand."
        ),
    ] = "words"
    lexicon: Annotated[
        Path | None,
        Meta(
            description="A TOML file that says how words are said, by language or under `[all]`: `[en]`, then lines "
            'such as `nginx = "engine x"`; `[keys.NAME.all]` is for one key. See docs/text.md.'
        ),
    ] = None
    read_code: Annotated[
        bool, Meta(description="Whether code between fences is read out, where texts are cleaned.")
    ] = False
    block_list: Annotated[
        str,
        Meta(
            description="Words and phrases that are not spoken, separated by commas, or a `.txt` file with one a line."
        ),
    ] = ""
    max_repetition: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="How often a letter, word or phrase may be repeated in a row; 0: no limit.",
        ),
    ] = 0
    moderation: Annotated[
        str,
        Meta(
            description="Your own judge of texts: `package.module:function`, or an entry point of the group "
            "`orpheus_openai.moderation`; an asynchronous function that is given the text and returns None, or "
            "why it is refused."
        ),
    ] = ""
    audit_log: Annotated[
        str,
        Meta(description="A file that gets one JSON line a request; `-` is standard output; empty: none."),
    ] = ""
    audit_text: Annotated[bool, Meta(description="Whether those lines hold the texts.")] = False
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Sites whose pages may use the server from a browser, e.g. `https://app.example.com`, "
            "separated by commas; `*`: all; empty: none but its own.",
            extra={"check": checks.origin, "example": "https://app.example.com"},
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names, separated by commas, that a server without keys answers to beside addresses, this "
            "machine's names and private ones (`.local`, `.lan`, …), e.g. `speech.example.com`; `*.example.com`: all "
            "below it; `*`: all. See docs/security.md.",
            extra={"check": checks.host_pattern, "example": "speech.example.com"},
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of reverse proxies, whose `X-Forwarded-For` and `X-Forwarded-Proto` "
            "are believed; with this or ORPHEUS_API_KEYS set, those of proxies on this machine are, too.",
            extra={"check": checks.network, "example": "10.0.0.0/8"},
        ),
    ] = ()
    output_dir: Annotated[Path, Meta(description="The folder for speech that is saved on the server.")] = (
        Path("outputs")
    )
    output_max_age_hours: Annotated[
        float, Meta(ge=0, description="Hours after which saved speech is removed; 0: never.")
    ] = 0.0
    output_max_bytes: Annotated[
        int, Meta(ge=0, description="Bytes that saved speech may take; the oldest goes first; 0: no limit.")
    ] = 0
    takes_max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of memory for speech that is kept for an hour because its request asked for that; one "
            "caller has a quarter of it at most; 0: nothing is kept.",
        ),
    ] = 64 * 1024 * 1024
    otlp_endpoint: Annotated[
        str,
        Meta(
            description="OpenTelemetry collector that is sent a trace of each request, e.g. `http://127.0.0.1:4318`; "
            "empty: no traces. See docs/observability.md.",
            extra={
                "variable": "OTEL_EXPORTER_OTLP_ENDPOINT",
                "check": checks.url("http", "https"),
                "example": "http://127.0.0.1:4318",
            },
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="How much the log says.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="One line a record, for people or machines.")
    ] = "text"
