"""The command line: what it prints, the files it writes, and the code it exits with."""

import os
import pty
import socket
import subprocess
import sys
import wave
from importlib.metadata import version
from pathlib import Path

import av
import pytest

from orpheus_openai.catalog import load_catalog
from tests.support.command_line import ENVIRON, run


@pytest.mark.parametrize("suffix", ["mp3", "opus", "ogg", "aac", "flac", "wav"])
def test_the_suffix_tells_the_format(tmp_path, suffix):
    assert run("speak", "Hello there.", "-o", f"hello.{suffix}", folder=tmp_path).returncode == 0
    with av.open(str(tmp_path / f"hello.{suffix}")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 10_000
    assert [path.name for path in tmp_path.iterdir()] == [f"hello.{suffix}"]


def test_a_dash_writes_to_standard_output_and_reads_standard_input(tmp_path):
    done = run(
        "speak",
        "-",
        "-o",
        "-",
        "--format",
        "pcm",
        "--voice",
        "leo",
        folder=tmp_path,
        stdin="Grüß Gott.".encode(),
    )
    assert done.returncode == 0
    assert len(done.stdout) > 20_000


def test_a_dash_writes_wav_unless_told_otherwise(tmp_path):
    done = run("speak", "Hello there.", "-o", "-", folder=tmp_path)
    assert done.stdout[:4] == b"RIFF"


def test_speed_shortens(tmp_path):
    for speed in ("1", "2"):
        assert (
            run(
                "speak", "One two three four five.", "-o", f"{speed}.wav", "--speed", speed, folder=tmp_path
            ).returncode
            == 0
        )
    assert (tmp_path / "2.wav").stat().st_size < 0.6 * (tmp_path / "1.wav").stat().st_size


def test_a_text_with_nothing_to_say_is_a_short_silence(tmp_path):
    assert run("speak", "—", "-o", "a.pcm", folder=tmp_path).returncode == 0
    assert (tmp_path / "a.pcm").read_bytes() == bytes(2 * 4_800)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["speak", "x", "-o", "hello.txt"], 2, "'.txt' is not an audio format"),
        (["speak", "x", "-o", "hello"], 2, "does not tell the format"),
        (["speak", "x"], 2, "-o FILE, or --play"),
        (["speak", "-o", "a.wav"], 2, "give one thing to say"),
        (["speak", "x", "--file", "x.txt", "-o", "a.wav"], 2, "give one thing to say"),
        (["speak", "--file", "x.txt", "-o", "a.wav"], 1, "No such file"),
        (["speak", "x", "-o", "none/a.wav", "--model", "nobody"], 1, "there is no folder"),
        (["speak", "x", "-o", "a.wav", "--captions", "none/a.srt"], 1, "there is no folder"),
        (
            ["speak", "x", "-o", "a.wav", "--temperature", "9"],
            2,
            "'temperature': Expected a number of at most 2",
        ),
        (["speak", " ", "-o", "a.wav"], 2, "nothing to speak"),
        (["speak", "x", "-o", "a.wav", "--voice", "nobody"], 2, "no voice 'nobody'"),
        (["speak", "x", "-o", "a.wav", "--speed", "9"], 2, "'speed': Expected a number of at most 4"),
        (["speak", "x", "-o", "a.wav", "--model", "gpt-9"], 2, "does not exist"),
        (["speak", "x", "-o", "a.wav", "--model", "small-1b"], 1, "ORPHEUS_MODEL_SMALL_1B"),
        (["serve", "--port", "many"], 2, "PORT=many: expected a whole number"),
        (["sing"], 2, "invalid choice"),
        ([], 2, "COMMAND"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(tmp_path, arguments, code, words):
    done = run(*arguments, folder=tmp_path)
    message = done.stderr.decode()
    assert done.returncode == code
    assert words in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_stops_any_command_with_one_line(tmp_path):
    done = run("serve", folder=tmp_path, GPU_IDLE_TIMEOUT="soon")
    assert done.returncode == 2
    assert done.stderr.decode().strip().splitlines() == [
        "orpheus-openai: GPU_IDLE_TIMEOUT=soon: expected a number of at least 0; for example GPU_IDLE_TIMEOUT=60"
    ]


def test_a_taken_port_is_said_in_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--host", "127.0.0.1", "--port", port, folder=tmp_path)
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr.decode()


def test_voices_and_models_are_listed(tmp_path):
    voices = run("voices", folder=tmp_path).stdout.decode()
    models = run("models", folder=tmp_path).stdout.decode()
    assert len(voices.splitlines()) == 1 + len(load_catalog().voices)
    assert "长乐" in voices
    assert "alloy" in voices
    assert "small-1b" in models
    assert "ORPHEUS_MODEL_SMALL_1B" in models
    assert models.count("ORPHEUS_MODEL_SMALL_1B") == 1


def test_models_say_each_reason_once(tmp_path):
    lines = run("models", folder=tmp_path, CUDA_VISIBLE_DEVICES="").stdout.decode().splitlines()
    reasons = [line for line in lines if line.startswith("  ")]
    assert len(reasons) == len(set(reasons)) >= 2
    (names,) = [line for line in lines if line.startswith("medium-3b, ")]
    assert names.endswith(":")


def test_the_doctor_tells_what_to_do(tmp_path):
    fine = run("doctor", folder=tmp_path)
    broken = run("doctor", folder=tmp_path, ORPHEUS_MODEL_SMALL_1B="no-such.gguf", ORPHEUS_MODEL="small-1b")
    assert fine.returncode == 0
    assert "no NVIDIA GPU" in fine.stdout.decode()
    assert "orpheus-openai pull" in fine.stdout.decode()
    assert broken.returncode == 1
    assert "no-such.gguf does not exist" in broken.stdout.decode()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"ORPHEUS_API_KEYS": "phone:sha256:12ab"}, "ORPHEUS_API_KEYS: entry 1 is not one of"),
        ({"ORPHEUS_RATE_LIMIT": "much"}, "'much' is not a rate"),
        ({"ORPHEUS_TRUSTED_PROXIES": "foo"}, "'foo' is neither an IP address nor a network"),
        ({}, ".env, line 2: a quote is opened and never closed"),
    ],
)
def test_the_doctor_sees_what_the_server_would_not_start_with(tmp_path, environ, words):
    if not environ:
        (tmp_path / ".env").write_text('PORT=1\nORPHEUS_API_KEYS="a:k1\n')
    told = run("doctor", folder=tmp_path, **environ)
    assert told.returncode == 1
    assert words in told.stdout.decode()


@pytest.mark.parametrize(
    ("package", "environ", "extra"),
    [
        ("redis", {"ORPHEUS_REDIS_URL": "redis://127.0.0.1:1/0"}, "redis"),
        ("opentelemetry-sdk", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "otel"),
        ("xllamacpp", {"ORPHEUS_MODEL_MEDIUM_3B": "x/y:q4_k_m", "HF_HUB_OFFLINE": "1"}, "gguf"),
    ],
)
def test_the_doctor_names_the_extra_that_a_setting_needs(tmp_path, package, environ, extra):
    # Without the package's metadata and modules, as if it were not installed; all else is.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m, sys\n"
        "real = m.version\n"
        f"gone = {package!r}\n"
        "def version(name):\n"
        "    if name == gone: raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.modules[gone.partition('-')[0]] = None\n"
    )
    told = run("doctor", folder=tmp_path, PYTHONPATH=str(tmp_path), **environ)
    lines = told.stdout.decode().splitlines()
    place = lines.index(f"MISSING  {package} is not installed, and {next(iter(environ))} needs it")
    assert f"[{extra}]" in lines[place + 1]
    assert told.returncode == 1


def test_a_terminal_sees_the_progress(tmp_path):
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "orpheus_openai", "speak", "Hello there.", "-o", "a.wav"],
        cwd=tmp_path,
        env=ENVIRON,
        stderr=theirs,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:
        pass  # Linux' way to say that the other side is closed
    os.close(ours)
    assert b"s of audio" in said
    assert "× real time".encode() in said


def test_files_of_the_command_line_tell_their_length(tmp_path):
    run("speak", "Hello there.", "-o", "a.wav", folder=tmp_path)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert len(file.readframes(10**7)) == file.getnframes() * 2 > 20_000
    run("speak", "Hello there.", "-o", "a.flac", folder=tmp_path)
    with av.open(str(tmp_path / "a.flac")) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        assert file.duration == round(samples / 24_000 * av.time_base)


def test_a_stream_keeps_the_header_of_one(tmp_path):
    done = run("speak", "Hello there.", "-o", "-", "--format", "WAV", folder=tmp_path)
    assert done.stdout[4:8] == done.stdout[40:44] == b"\xff" * 4


def test_the_server_starts_without_the_heavy_packages(tmp_path):
    code = (
        "import sys; from orpheus_openai.app import create_app; from orpheus_openai.settings import Settings; "
        "create_app(Settings(model='preview')); "
        "heavy = 'torch', 'vllm', 'snac', 'transformers', 'fastmcp', 'babel', 'markdown_it'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENVIRON, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode().strip() == "[]"


def test_the_version_is_the_packages(tmp_path):
    assert version("orpheus-openai") in run("--version", folder=Path(tmp_path)).stdout.decode()


def test_doctor_tells_of_a_gguf_file_what_it_is_and_what_is_wrong_with_it(tmp_path, tiny_gguf):
    good = run("doctor", folder=tmp_path, ORPHEUS_MODEL_MEDIUM_3B=str(tiny_gguf)).stdout.decode()
    assert "F16, by llama.cpp; takes 0." in good
    (tmp_path / "half.gguf").write_bytes(tiny_gguf.read_bytes()[:20_000_000])
    bad = run("doctor", folder=tmp_path, ORPHEUS_MODEL_MEDIUM_3B="half.gguf")
    assert bad.returncode == 1
    assert "not whole" in bad.stdout.decode()
