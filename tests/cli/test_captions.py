"""`speak --captions` and `align`: words and their times on the command line."""

import json

import pytest

from tests.support.command_line import run

pytest.importorskip("espeakng_loader")

TEXT = "The quick brown fox jumped over the lazy dog. <laugh> Then it slept."
WORDS = "The quick brown fox jumped over the lazy dog Then it slept".split()


def words_of(path):
    return [word for segment in json.loads(path.read_text())["segments"] for word in segment["words"]]


@pytest.mark.parametrize("by_server", [False, True])
def test_captions_are_written_beside_the_speech_whoever_speaks(tmp_path, server_url, by_server):
    environ = {"ORPHEUS_URL": server_url} if by_server else {}
    for suffix in ("json", "srt"):
        options = ["speak", TEXT, "-o", "a.wav", "--model", "preview", "--captions", f"a.{suffix}"]
        done = run(*options, folder=tmp_path, **environ)
        assert done.returncode == 0, done.stderr
    found = words_of(tmp_path / "a.json")
    assert [word["word"] for word in found] == WORDS
    assert (tmp_path / "a.srt").read_text().startswith("1\n00:00:00,000 --> ")


def test_a_recording_is_aligned_with_its_text(tmp_path):
    said = run("speak", TEXT, "-o", "a.mp3", "--voice", "leo", "--captions", "truth.json", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    done = run("align", "a.mp3", "--text", TEXT, "--json", "--captions", "a.vtt", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["words"]
    truth = words_of(tmp_path / "truth.json")
    assert [word["word"] for word in found] == WORDS
    late = sorted(abs(a["start"] - b["start"]) for a, b in zip(found, truth, strict=True))
    assert late[len(late) // 2] < 0.05
    assert late[-1] < 0.2
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("align", "none.wav", "--text", "Hello."), 1, "No such file"),
        (("align", "text.wav", "--text", "Hello."), 2, "is not an audio file"),
        (("align", "text.wav"), 2, "give one thing to say"),
        (("speak", "Hello.", "-o", "a.wav", "--captions", "a.txt"), 2, "end its name with one of"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, options, code, words):
    (tmp_path / "text.wav").write_text("This is a text.")
    done = run(*options, folder=tmp_path)
    assert (done.returncode, words in done.stderr.decode()) == (code, True)
    assert not (tmp_path / "a.wav").exists()
