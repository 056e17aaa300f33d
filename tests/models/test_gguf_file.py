"""A GGUF file's header, before anything is started; what is wrong with a file is said in words."""

from pathlib import Path

import gguf
import pytest

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf, means_gguf, quantisations_of
from orpheus_openai.models.orpheus.gguf_header import read_header
from tests.support.tiny_gguf import HIDDEN, VOCABULARY, write_gguf


def test_a_header_tells_what_the_file_is_and_takes(tiny_gguf):
    header = fetch_gguf(str(tiny_gguf))
    assert (header.architecture, header.quantisation, header.shape.vocab_size) == ("llama", "F16", VOCABULARY)
    assert header.context == 8_192
    assert header.cache_bytes(1_000) == 1_000 * 2 * HIDDEN * 2
    assert header.expected_bytes == header.file_bytes == tiny_gguf.stat().st_size


def test_our_reading_is_that_of_the_package_gguf(tmp_path):
    file = write_gguf(
        tmp_path / "small.gguf", vocabulary=2_000
    )  # of which the package reads each token for itself
    theirs = gguf.GGUFReader(file)
    last = max(theirs.tensors, key=lambda tensor: tensor.data_offset)
    assert read_header(file).expected_bytes == last.data_offset + last.n_bytes


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 10_000, 2_000_000])
def test_a_file_that_breaks_off_in_its_header_is_told(tiny_gguf, tmp_path, kept):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(ModelUnavailableError, match=r"broken\.gguf is not a usable GGUF file.*[Dd]ownload"):
        fetch_gguf(str(broken))


def test_a_file_that_breaks_off_in_its_weights_is_told_with_its_size(tiny_gguf, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_gguf.read_bytes()[:-1])
    with pytest.raises(ModelUnavailableError, match="not whole"):
        fetch_gguf(str(broken))


def test_lengths_that_cannot_be_are_told_and_not_followed(tiny_gguf, tmp_path):
    content = bytearray(tiny_gguf.read_bytes()[:5_000])
    content[24:32] = (2**63).to_bytes(8, "little")  # of the first key
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match="not a usable GGUF file"):
        fetch_gguf(str(tmp_path / "odd.gguf"))


def test_other_models_are_told_from_orpheus(tmp_path):
    for name, architecture, vocabulary in (
        ("a", "qwen2", VOCABULARY),
        ("b", "llama", 1_000),
        ("c", "llama", VOCABULARY),
    ):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", architecture)
        writer.add_token_list(["x"] * vocabulary)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    with pytest.raises(ModelUnavailableError, match="architecture is qwen2"):
        fetch_gguf(str(tmp_path / "a.gguf"))
    with pytest.raises(ModelUnavailableError, match="1000 tokens"):
        fetch_gguf(str(tmp_path / "b.gguf"))
    with pytest.raises(ModelUnavailableError, match="does not say how large"):
        fetch_gguf(str(tmp_path / "c.gguf"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orpheus-3b-0.1-ft-q4_k_m.gguf", True),
        ("lex-au/Orpheus-3b-FT-Q4_K_M.gguf", True),
        ("isaiahbjork/orpheus-3b-0.1-ft-Q4_K_M-GGUF", True),
        ("unsloth/orpheus-3b-0.1-ft-GGUF:q8_0", True),
        ("canopylabs/orpheus-3b-0.1-ft", False),
        ("/models/orpheus", False),
        ("C:/models/orpheus", False),
    ],
)
def test_which_names_mean_gguf(name, expected):
    assert means_gguf(name) is expected


def test_a_folder_means_gguf_where_it_holds_that_and_no_safetensors(tiny_gguf, tmp_path):
    assert not means_gguf(str(tmp_path))
    (tmp_path / "x-q8_0.gguf").symlink_to(tiny_gguf)
    assert means_gguf(str(tmp_path))
    assert fetch_gguf(str(tmp_path)).path == tmp_path / "x-q8_0.gguf"
    (tmp_path / "x-q4_k_m.gguf").symlink_to(tiny_gguf)
    assert fetch_gguf(str(tmp_path)).path == tmp_path / "x-q4_k_m.gguf"
    (tmp_path / "model.safetensors").touch()
    assert not means_gguf(str(tmp_path))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ModelUnavailableError, match=r"no file .*nowhere\.gguf"):
        fetch_gguf("nowhere.gguf")


@pytest.fixture
def cached(tiny_gguf, tmp_path, monkeypatch):
    """What the hub's cache holds of a repository with two quantisations."""
    snapshot = tmp_path / "models--me--orpheus-GGUF" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    for quantisation in ("Q4_K_M", "Q8_0"):
        (snapshot / f"orpheus-{quantisation}.gguf").symlink_to(tiny_gguf)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return snapshot


@pytest.mark.parametrize(("name", "file"), [("me/orpheus-GGUF", "Q4_K_M"), ("me/orpheus-GGUF:q8_0", "Q8_0")])
def test_of_what_was_downloaded_the_named_quantisation_is_taken(cached, name, file):
    assert fetch_gguf(name).path == cached / f"orpheus-{file}.gguf"


def test_quantisations_are_read_from_names_in_both_cases():
    names = ["a-Q4_K_M.gguf", "b.q8_0.gguf", "c-IQ4_XS.gguf", "bf16/d-BF16.gguf", "README.md"]
    assert quantisations_of(names).keys() == {"q4_k_m", "q8_0", "iq4_xs", "bf16"}
    assert Path("a-Q4_K_M.gguf").name == quantisations_of(names)["q4_k_m"]
