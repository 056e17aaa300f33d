"""`.env` is read by setup.sh and by the server, and both must read the same: every line here goes through both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.settings import load_settings
from tests.support.served import serving

ROOT = Path(__file__).parents[2]
NAME = "ORPHEUS_REMOTE_MODEL"
"""A setting that takes any text."""

READ = {
    f"{NAME}=plain": "plain",
    f"{NAME} = spaced out ": "spaced out",
    f"\t{NAME}=indented": "indented",
    f"export {NAME}=exported": "exported",
    f"export\t {NAME} =exported": "exported",
    f"{NAME}=": "",
    f"{NAME}=''": "",
    f'{NAME}=""': "",
    f"{NAME}= # nothing": "",
    f"#{NAME}=commented out": "",
    f"  # {NAME}=commented out": "",
    f"{NAME}=a # comment": "a",
    f"{NAME}=a\t# comment": "a",
    f"{NAME}=a#no comment": "a#no comment",
    f"{NAME}='single # quoted' # comment": "single # quoted",
    f'{NAME}="double # quoted"': "double # quoted",
    f"{NAME}=' spaces are no value '": "spaces are no value",
    f"{NAME}='$HOME ${{HOME}} \"x\" \\n'": '$HOME ${HOME} "x" \\n',
    f'{NAME}="it\'s \\"so\\" \\\\ "': 'it\'s "so" \\',
    f"{NAME}=it's": "it's",
    f"{NAME}=C:\\models": "C:\\models",
    f"{NAME}=costs 5$": "costs 5$",
    f"{NAME}=a=b": "a=b",
    f"{NAME}=长乐 ü": "长乐 ü",
    f"{NAME}=with a return\r": "with a return",
    f"{NAME}=first\r\n{NAME}=last\r\n": "last",
    f"\ufeff{NAME}=after a byte order mark": "after a byte order mark",
    f"\ufeffexport {NAME}='all of it' # x\r\n": "all of it",
    f"SOMETHING_ELSE=1\n\n{NAME}=third": "third",
}
UNREADABLE = {
    f'{NAME}="a:k1': "never closed",
    f"{NAME}='a:k1": "never closed",
    f'{NAME}="a:k1\\"': "never closed",
    f"{NAME}='a'b": "follows the closing quote",
    f'{NAME}="a"#b': "follows the closing quote",
    f"{NAME}='it\\'s'": "backslash",
    f'{NAME}="C:\\models"': "single quotes",
    f"{NAME}=#k1": "single quotes",
    f"{NAME}=$KEY": "single quotes",
    f"{NAME}=a:${{KEY}}": "single quotes",
    f'{NAME}="a:$(key)"': "single quotes",
    f"{NAME}: yaml": "NAME=value",
    NAME: "NAME=value",
    f"export {NAME}": "NAME=value",
    f"set {NAME}=1": "NAME=value",
    "ORPHEUS-API-KEYS=a": "NAME=value",
    "=a": "NAME=value",
    f"{NAME}=a\x00": "control character",
    f"{NAME}=a\rPORT=1": "control character",
    f"{NAME}=\udcff": "UTF-8",
}


def by_the_shell(folder, **environ):
    """What setup.sh finds: its answer, or what it complains of."""
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; source '{ROOT}/setup.sh'; found=$(setting {NAME}); printf %s \"$found\""],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environ},
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    return done.stdout.decode() if done.returncode == 0 else done.stderr.decode()


def write(folder, content):
    (folder / ".env").write_bytes(content.encode("utf-8", "surrogateescape"))
    return folder / ".env"


@pytest.mark.parametrize(("content", "value"), READ.items())
def test_shell_and_server_read_the_same(tmp_path, content, value):
    file = write(tmp_path, content)
    assert load_settings({}, file).remote_model == value
    assert by_the_shell(tmp_path) == value


@pytest.mark.parametrize(("line", "words"), UNREADABLE.items())
def test_a_line_that_cannot_be_read_stops_both_with_its_number_and_is_not_quoted(tmp_path, line, words):
    file = write(tmp_path, f"# first\r\nPORT=1\n{line}\nPORT=2\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, file)
    for said in (str(caught.value), by_the_shell(tmp_path)):
        assert ".env, line 3: " in said
        assert words in said
        assert "k1" not in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [b"\xff\xfeP\x00O\x00R\x00T\x00=\x001\x00", b"PORT=1\x80"])
def test_a_file_in_another_encoding_is_told_as_that(tmp_path, content):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError, match="line 1: this is not UTF-8"):
        load_settings({}, tmp_path / ".env")
    assert "line 1: this is not UTF-8" in by_the_shell(tmp_path)


def test_a_folder_of_that_name_is_no_empty_file(tmp_path):
    (tmp_path / ".env").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings({}, tmp_path / ".env")
    assert "cannot be read" in by_the_shell(tmp_path)


@pytest.mark.parametrize(
    ("given", "value"), [({NAME: "mine"}, "mine"), ({NAME: ""}, "files"), ({NAME: " "}, "files")]
)
def test_the_environment_wins_where_it_says_something(tmp_path, given, value):
    file = write(tmp_path, f"{NAME}=files")
    assert load_settings(given, file).remote_model == value
    assert by_the_shell(tmp_path, **given) == value


def test_start_sh_stops_before_it_installs_anything(tmp_path):
    write(tmp_path, 'ORPHEUS_API_KEYS="a:k1\n')
    script = f"set -euo pipefail; source '{ROOT}/setup.sh'; profile=$(choose_profile); echo would install"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "would install" not in done.stdout
    assert ".env, line 1" in done.stderr


def test_the_server_does_not_start_on_half_a_list_of_keys(tmp_path):
    write(tmp_path, 'ORPHEUS_API_KEYS="a:k1\n')
    with pytest.raises(
        RuntimeError, match=r"exit code 2(.|\n)*\.env, line 1: a quote is opened and never closed"
    ):
        with serving(tmp_path, {"PATH": os.environ["PATH"], "ORPHEUS_MODEL": "preview"}):
            pass
