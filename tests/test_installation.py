"""What is told to do where an extra is missing works where it is read: a checkout, a wheel, an image."""

from pathlib import Path

import pytest

from orpheus_openai import installation

HERE = Path(__file__).parents[1]
EDITABLE = {"url": HERE.as_uri(), "dir_info": {"editable": True}}


@pytest.mark.parametrize(
    ("extra", "origin", "prefix", "has_pip", "command"),
    [
        ("gpu", EDITABLE, HERE / ".venv", True, "SETUP_PROFILE=gpu ./start.sh"),
        ("redis", EDITABLE, HERE / ".venv", True, '.venv/bin/pip install -e ".[redis]" in the checkout'),
        ("gpu", EDITABLE, Path("/elsewhere"), True, 'pip install -e ".[gpu]" in the checkout'),
        ("otel", EDITABLE, Path("/elsewhere"), False, 'uv pip install -e ".[otel]" in the checkout'),
        ("redis", {}, Path("/elsewhere"), True, 'pip install "orpheus-openai[redis]"'),
        ("redis", {}, Path("/elsewhere"), False, 'uv pip install "orpheus-openai[redis]"'),
        (
            "gguf",
            {"url": "file:///dist/orpheus_openai-0.2.0-py3-none-any.whl", "archive_info": {}},
            Path("/elsewhere"),
            True,
            'pip install "./orpheus_openai-0.2.0-py3-none-any.whl[gguf]"',
        ),
        (
            "gguf",
            {"url": "file:///no/such/source", "dir_info": {}},
            Path("/opt/orpheus"),
            False,
            "add --extra gguf to the Dockerfile and build the image",
        ),
        (
            "gguf",
            {"url": "https://example.com/x.whl", "archive_info": {}},
            Path("/elsewhere"),
            True,
            'pip install "orpheus-openai[gguf] @ https://example.com/x.whl"',
        ),
    ],
)
def test_each_way_to_install_has_its_own_command(monkeypatch, extra, origin, prefix, has_pip, command):  # noqa: PLR0917
    monkeypatch.setattr(installation, "_origin", lambda: origin)
    monkeypatch.setattr("sys.prefix", str(prefix))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if has_pip else None)
    installation.installing.cache_clear()
    try:
        assert installation.installing(extra) == command
    finally:
        installation.installing.cache_clear()


def test_every_profile_is_one_that_start_sh_installs():
    script = (HERE / "setup.sh").read_text(encoding="utf-8")
    for profile in installation.PROFILES:
        assert f"\n    {profile})" in script
