"""`orpheus-openai speak`: who speaks, what it takes for a text, and what it says on any terminal."""

import json
import os
import socket
import subprocess
import sys
import threading
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import httpx
import pytest

from tests.support.command_line import ENVIRON, run


def seconds(path):
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0)) / 24_000


@pytest.fixture
def stranger():
    """Another program's HTTP server, which answers whatever it is asked as many do."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"status": "ok", "version": "1.0"}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_runs_on_the_port_speaks(server_url, tmp_path):
    port = server_url.rpartition(":")[2]
    # No model can be loaded by this process: that there is speech shows who made it.
    done = run("speak", "Hello there.", "-o", "a.mp3", "--json", "--seed", "3", folder=tmp_path, PORT=port,
               ORPHEUS_HOST="127.0.0.1", ORPHEUS_MODEL="small-1b")  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert f"spoken by the server at http://127.0.0.1:{port}" in done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["server"] == f"http://127.0.0.1:{port}"
    assert (told["model"], told["voice"], told["format"], told["file"]) == ("preview", "tara", "mp3", "a.mp3")
    assert told["bytes"] == (tmp_path / "a.mp3").stat().st_size
    assert seconds(tmp_path / "a.mp3") == pytest.approx(told["audio_seconds"], abs=0.2)


def test_a_file_has_the_sample_rate_that_was_asked_for(server_url, tmp_path):
    port = server_url.rpartition(":")[2]
    asked = ("--sample-rate", "16000", "--json")
    done = run(
        "speak", "Hello there.", "-o", "a.wav", *asked, folder=tmp_path, PORT=port, ORPHEUS_HOST="127.0.0.1"
    )
    assert done.returncode == 0, done.stderr.decode()
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getframerate() == 16_000
        assert file.getnframes() / 16_000 == pytest.approx(
            json.loads(done.stdout)["audio_seconds"], abs=0.001
        )
    refused = run("speak", "Hello there.", "-o", "a.opus", "--sample-rate", "44100", folder=tmp_path)
    assert refused.returncode != 0
    assert "48000" in refused.stderr.decode()
    assert not (tmp_path / "a.opus").exists()


def test_the_named_server_speaks_and_its_refusals_are_told_in_its_words(server_url, tmp_path):
    done = run(
        "speak", "你好。", "-o", "a.wav", "--voice", "长乐", "--json", folder=tmp_path, ORPHEUS_URL=server_url
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["voice"] == "长乐"
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() > 5_000
    refused = run("speak", "x", "-o", "b.wav", "--voice", "nobody", folder=tmp_path, ORPHEUS_URL=server_url)
    assert refused.returncode == 2
    assert "no voice 'nobody'" in refused.stderr.decode()
    missing = run("speak", "x", "-o", "b.wav", "--model", "small-1b", folder=tmp_path, ORPHEUS_URL=server_url)
    assert missing.returncode == 1
    assert "ORPHEUS_MODEL_SMALL_1B" in missing.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_where_no_server_runs_this_process_speaks_and_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    done = run("speak", "Hello there.", "-o", "a.wav", "--json", folder=tmp_path, PORT=port)
    assert done.returncode == 0
    assert (
        f"spoken by this process, as no orpheus-openai answers at http://127.0.0.1:{port}"
        in done.stderr.decode()
    )
    assert json.loads(done.stdout)["server"] is None


def test_another_program_on_the_port_is_passed_over(stranger, tmp_path):
    done = run("speak", "Hello there.", "-o", "a.wav", folder=tmp_path, PORT=str(stranger))
    assert done.returncode == 0
    assert "spoken by this process" in done.stderr.decode()


def test_a_named_server_that_does_not_answer_is_never_replaced(stranger, tmp_path):
    done = run(
        "speak", "Hello there.", "-o", "a.wav", folder=tmp_path, ORPHEUS_URL=f"http://127.0.0.1:{stranger}"
    )
    assert done.returncode == 2
    assert "no orpheus-openai answers there" in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_text_comes_from_a_file(tmp_path):
    (tmp_path / "text.txt").write_bytes("﻿Grüß Gott.".encode())
    (tmp_path / "wide.txt").write_bytes("Grüß Gott.".encode("utf-16"))
    for name in ("text", "wide"):
        assert run("speak", "--file", f"{name}.txt", "-o", f"{name}.pcm", folder=tmp_path).returncode == 0
    assert (tmp_path / "text.pcm").read_bytes() == (tmp_path / "wide.pcm").read_bytes()
    assert len((tmp_path / "text.pcm").read_bytes()) > 20_000


LATIN = "Grüß Gott.".encode("latin-1")


@pytest.mark.parametrize("way", ["argument", "file", "standard input"])
def test_what_is_not_utf8_is_told_in_words(tmp_path, way):
    (tmp_path / "text.txt").write_bytes(LATIN)
    texts: dict[str, list[str | bytes]] = {
        "argument": [LATIN],
        "file": ["--file", "text.txt"],
        "standard input": ["-"],
    }
    done = run("speak", *texts[way], "-o", "a.wav", folder=tmp_path, stdin=LATIN)
    assert done.returncode == 2
    assert "is not UTF-8 (byte 0xfc at 2)" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


ASCII: Any = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": ""}


def test_the_c_locale_lists_every_voice_and_says_what_it_cannot_show(tmp_path):
    done = run("voices", folder=tmp_path, **ASCII)
    assert done.returncode == 0
    assert len(done.stdout.decode("ascii").splitlines()) == 26
    assert "PYTHONUTF8=1 shows them" in done.stderr.decode("ascii")
    assert "->" in run("doctor", folder=tmp_path, **ASCII).stdout.decode("ascii")


def test_the_c_locale_takes_any_text(tmp_path):
    done = run(
        "speak", "你好。".encode(), "-o", "a.pcm", "--voice", "长乐".encode(), folder=tmp_path, **ASCII
    )
    plain = run("speak", "你好。", "-o", "b.pcm", "--voice", "长乐", folder=tmp_path)
    assert (done.returncode, plain.returncode) == (0, 0), done.stderr
    assert (tmp_path / "a.pcm").read_bytes() == (tmp_path / "b.pcm").read_bytes()


def player(folder, script):
    """A stand-in for a sound server's player: there is no sound on the machines that test."""
    program = folder / "bin" / "paplay"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def test_a_player_hears_what_the_file_holds(tmp_path):
    path = player(tmp_path, f'echo "$@" > {tmp_path}/told; cat > {tmp_path}/heard')
    done = run("speak", "Hello there.", "--play", "-o", "a.pcm", folder=tmp_path, **path)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "heard").read_bytes() == (tmp_path / "a.pcm").read_bytes()
    assert "--rate=24000 --channels=1 --format=s16le" in (tmp_path / "told").read_text()
    assert run("speak", "Hello there.", "--play", folder=tmp_path, **path).returncode == 0


def test_a_player_that_fails_or_is_missing_is_told(tmp_path):
    failed = run("speak", "Hello.", "--play", folder=tmp_path, **player(tmp_path, "cat >/dev/null; exit 3"))
    assert failed.returncode == 1
    assert "paplay could not play the speech (exit code 3)" in failed.stderr.decode()
    missing = run("speak", "Hello.", "--play", folder=tmp_path, PATH=str(tmp_path))
    assert missing.returncode == 2
    assert "none of these is here: pw-cat, paplay" in missing.stderr.decode()


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", "complete -p orpheus-openai"), ("zsh", ""), ("fish", "")]
)
def test_completion_is_made_for_each_shell(tmp_path, shell, check):
    script = run("completion", shell, folder=tmp_path).stdout.decode()
    assert "temperature" in script
    if check:
        done = subprocess.run(
            [shell, "-c", f"{script}\n{check}"], env=ENVIRON, capture_output=True, timeout=60, check=True
        )
        assert b"complete -" in done.stdout


def test_help_shows_examples(tmp_path):
    told = run("speak", "--help", folder=tmp_path).stdout.decode()
    assert "orpheus-openai speak --file chapter.txt -o chapter.flac --voice leo --json" in told


def test_audio_is_not_thrown_at_a_terminal(tmp_path):
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "orpheus_openai", "speak", "x", "-o", "-"],
        cwd=tmp_path, env=ENVIRON, stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert "a terminal cannot show audio" in done.stderr.decode()


def test_explain_tells_what_would_be_said_without_a_model(tmp_path):
    done = run("speak", "Anna: It is **$5**.", "--explain", "--here", "--cast", "Anna=zoe", folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    (segment,) = json.loads(done.stdout)["segments"]
    assert (segment["voice"], segment["text"]) == ("zoe", "It is five dollars.")
    assert {"from": "Anna:", "to": "", "why": "name of a speaker"} in segment["changes"]


def test_explain_asks_the_server_that_runs(server_url, tmp_path):
    done = run("speak", "# Hi", "--explain", folder=tmp_path, ORPHEUS_URL=server_url)
    assert f"told by the server at {server_url}" in done.stderr.decode()
    assert json.loads(done.stdout)["segments"][0]["text"] == "Hi"


def test_several_speakers_sound_as_they_do_over_http(server_url, tmp_path):
    text = "Anna: Hello there.\nBen: Good morning."
    done = run("speak", text, "-o", "a.pcm", "--cast", "Anna=zoe", "--cast", "Ben=leo", folder=tmp_path,
               ORPHEUS_URL=server_url)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    asked = {"text": text, "cast": {"Anna": "zoe", "Ben": "leo"}, "response_format": "pcm"}
    answer = httpx.post(f"{server_url}/api/generate", json=asked, timeout=60, trust_env=False)
    assert (tmp_path / "a.pcm").read_bytes() == answer.content


def test_a_cast_that_is_not_of_the_form_is_told(tmp_path):
    done = run("speak", "Hi.", "-o", "a.wav", "--cast", "Anna", folder=tmp_path)
    assert "--cast Anna: write NAME=VOICE" in done.stderr.decode()
