"""`orpheus-openai pull`."""

import argparse
import importlib.util
import sys
from pathlib import Path

from orpheus_openai.catalog import load_catalog
from orpheus_openai.cli.terminal import say
from orpheus_openai.installation import installing
from orpheus_openai.settings import checkpoint_variable, load_settings

HELP = "download a model as a GGUF file, which speaks without an NVIDIA GPU"
EXAMPLES = """\
  orpheus-openai pull --save
  orpheus-openai pull medium-3b --quant q8_0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe its options."""
    parser.add_argument("model", nargs="?", default="medium-3b", help="which model (default: %(default)s)")
    parser.add_argument("--quant", help="its quantisation, e.g. q8_0 (default: q4_k_m where there is one)")
    parser.add_argument("--save", action="store_true", help="write the setting that names it into .env")


def run(options: argparse.Namespace) -> int:
    """Download it, and say what to set."""
    try:
        import huggingface_hub  # noqa: F401, PLC0415

        from orpheus_openai.models.pull import pull, save_setting  # noqa: PLC0415
    except ImportError:
        say(f"what downloads is not installed: {installing('gguf')}")
        return 1
    model = load_catalog(load_settings().catalog).model(options.model, options.model)
    name = pull(model, options.quant, lambda line: print(line, file=sys.stderr))
    setting = checkpoint_variable(model.id)
    if options.save:
        try:
            save_setting(Path(".env"), setting, name)
        except OSError as error:
            say(f".env could not be written ({error.strerror}) and is as it was; set {setting}={name} there")
            return 1
        print(f"{setting}={name} is in .env now", file=sys.stderr)
    else:
        print(f"{setting}={name}")
    packages = ("xllamacpp", "torch", "snac")
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        print(f"To speak with it, install {', '.join(missing)}: {installing('gguf')}", file=sys.stderr)
    return 0
