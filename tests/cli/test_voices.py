"""`orpheus-openai voices`: a user adds, looks at, tries and removes a voice."""

import json
import sys
import wave

import numpy as np
import pytest

from orpheus_openai.cli import make_parser
from orpheus_openai.doctor import examine
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.factory import ModelFactory
from tests.support.command_line import run


@pytest.fixture
def act(tmp_path, monkeypatch, capsys):
    """The command in this process, which a new one would only make slower."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORPHEUS_VOICES", str(tmp_path / "voices"))

    def acting(*words):
        options = make_parser().parse_args(["voices", *words])
        code = options.run(options)
        return code, capsys.readouterr()

    return acting


def write(path, seconds):
    time = np.arange(round(seconds * 24_000)) / 24_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes((9_000 * np.sin(2 * np.pi * 200 * time)).astype(np.int16).tobytes())
    return str(path)


def write_weights(folder):
    """An adapter of one product of two matrices."""
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_{}.weight"
    told = {
        name.format("A"): {"dtype": "F32", "shape": [8, 64], "data_offsets": [0, 2048]},
        name.format("B"): {"dtype": "F32", "shape": [64, 8], "data_offsets": [2048, 4096]},
    }
    header = json.dumps(told).encode()
    (folder / "adapter_model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(4096)
    )


def test_a_voice_is_added_listed_shown_and_removed_and_the_audit_log_tells_who_did_it(
    act, tmp_path, monkeypatch
):
    monkeypatch.setenv("ORPHEUS_AUDIT_LOG", str(tmp_path / "audit.jsonl"))
    monkeypatch.setenv("LOGNAME", "walter")
    code, said = act("add", "Nora B", "--language", "de", "--prefix", "nora")
    assert (code, said.out.strip()) == (0, str(tmp_path / "voices" / "nora-b"))
    listed = run("voices", folder=tmp_path, ORPHEUS_VOICES=str(tmp_path / "voices")).stdout.decode()
    assert len(listed.split("\n\n")[0].splitlines()) == 26, "those that are built in, as before"
    assert listed.splitlines()[-1].split() == ["Nora", "B", "German", "neutral", "named", "medium-3b", "-"]
    assert 'prefix = "nora"' in act("show", "nora b")[1].out
    code, said = act("test", "Nora B")
    assert code == 1
    assert "medium-3b cannot speak here" in said.err
    assert act("remove", "Nora B")[0] == 0
    assert list((tmp_path / "voices").iterdir()) == []
    told = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["command"], line["voice"], line["user"]) for line in told] == [
        ("voices add", "nora-b", "walter"),
        ("voices remove", "nora-b", "walter"),
    ]
    assert {line["status"] for line in told} == {None}, "0 would be a client that left"


def test_nothing_is_added_that_the_audit_log_cannot_tell_of(act, tmp_path, monkeypatch):
    monkeypatch.setenv("ORPHEUS_AUDIT_LOG", str(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be written"):
        act("add", "Nora")
    assert not (tmp_path / "voices").exists()


def test_a_recording_becomes_a_voice_with_its_speakers_consent_and_without_torch(act, tmp_path, monkeypatch):
    for heavy in ("torch", "snac", "vllm"):
        monkeypatch.setitem(sys.modules, heavy, None)
    ann, consent = write(tmp_path / "ann.wav", 5), write(tmp_path / "consent.wav", 2)
    words = ("add", "Ann", "--recording", ann, "--transcript", "Hello there.")
    with pytest.raises(InvalidRequestError, match="needs the consent of its speaker: --consent FILE"):
        act(*words)
    assert act(*words, "--consent", consent)[0] == 0
    assert (tmp_path / "voices" / "ann" / "recording.wav").exists()
    assert 'consent = "cons_' in act("show", "ann")[1].out
    with pytest.raises(InvalidRequestError, match="there is a voice 'Ann' already"):
        act(*words, "--consent", consent)
    assert len(list((tmp_path / "voices" / ".consents").iterdir())) == 1
    with pytest.raises(InvalidRequestError, match="at least 3 s are needed"):
        act("add", "Short", "--recording", consent, "--transcript", "Hi.", "--consent", consent)
    with pytest.raises(InvalidRequestError, match="expected what is said in the recording"):
        act("add", "Mute", "--recording", ann, "--consent", consent)
    for file, why in (
        ("gone.wav", "gone.wav cannot be read: No such file"),
        (str(tmp_path), "cannot be read"),
    ):
        with pytest.raises(InvalidRequestError, match=why):
            act("add", "Lost", "--recording", file, "--transcript", "Hi.", "--consent", consent)
    brief = write(tmp_path / "brief.wav", 0.3)
    with pytest.raises(InvalidRequestError, match="'--consent' cannot be used: it lasts 0.3 s"):
        act("add", "Brief", "--recording", ann, "--transcript", "Hi.", "--consent", brief)
    with pytest.raises(InvalidRequestError, match="transcript: it spells"):
        act("add", "Odd", "--recording", ann, "--transcript", "<custom_token_3> Hi.", "--consent", consent)
    assert sorted(path.name for path in (tmp_path / "voices").iterdir()) == [".consents", "ann"]
    assert "the consent of its speaker stays" in act("remove", "Ann")[1].err


def test_an_adapter_is_copied_with_nothing_but_what_it_needs(act, tmp_path):
    source = tmp_path / "lora"
    source.mkdir()
    with pytest.raises(InvalidRequestError, match="there is no adapter_config.json"):
        act("add", "Narrator", "--adapter", str(source))
    write_weights(source)
    (source / "optimizer.pt").write_bytes(bytes(100))
    config = {"peft_type": "LORA", "r": 8}
    (source / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": ["lm_head"]}))
    with pytest.raises(ModelUnavailableError, match="brings whole layers of its own.*merge_and_unload"):
        act("add", "Narrator", "--adapter", str(source))
    assert not (tmp_path / "voices").exists()
    (source / "adapter_config.json").write_text(json.dumps(config))
    assert act("add", "Narrator", "--adapter", str(source))[0] == 0
    kept = sorted(path.name for path in (tmp_path / "voices" / "narrator" / "adapter").iterdir())
    assert kept == ["adapter_config.json", "adapter_model.safetensors"]
    (tmp_path / "voices" / "narrator" / "adapter" / "adapter_model.safetensors").unlink()
    code, said = act("test", "Narrator")
    assert (code, said.out) == (1, "")


def test_an_adapter_of_a_repository_is_checked_as_soon_as_it_is_here(act, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    code, said = act("add", "Far", "--adapter", "hub:someone/voice")
    assert code == 0
    assert "`voices test` downloads it" in said.err
    assert 'adapter = "hub:someone/voice"' in act("show", "far")[1].out
    snapshot = tmp_path / "hub" / "models--someone--voice" / "snapshots" / "0"
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    snapshot.mkdir(parents=True)
    write_weights(snapshot)
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "canopylabs/3b-fr-ft-research_release"}
    (snapshot / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidRequestError, match="which is medium-3b-fr here.*merge_and_unload"):
        act("add", "Near", "--adapter", "hub:someone/voice")
    assert act("add", "Near", "--adapter", "hub:someone/voice", "--model", "medium-3b-fr")[0] == 0
    with pytest.raises(InvalidRequestError, match="expected hub:owner/name"):
        act("add", "Odd", "--adapter", "hub:someone")
    monkeypatch.setattr(ModelFactory, "require_voice", lambda *_: None)
    with pytest.raises(InvalidRequestError, match="which is medium-3b-fr here"):
        act("test", "Far")
    assert "far cannot be used: adapter: it was trained on" in act()[1].err
    assert act("test", "Near")[0] == 0


def test_a_voice_that_cannot_be_used_is_told_of_and_can_be_removed(act, tmp_path):
    (tmp_path / "voices" / "odd").mkdir(parents=True)
    (tmp_path / "voices" / "odd" / "voice.toml").write_text('name = "Odd"')
    code, said = act()
    assert code == 0
    assert "odd cannot be used: " in said.err
    assert "odd cannot be used: " in " ".join(finding.what for finding in examine() if not finding.ok)
    assert act("remove", "odd")[0] == 0
    with pytest.raises(InvalidRequestError, match="there is no voice 'odd'"):
        act("remove", "odd")
