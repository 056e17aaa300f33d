"""`orpheus-openai completion`."""

import argparse

SHELLS = ("bash", "zsh", "fish")

HELP = "print the script by which a shell completes these commands"
EXAMPLES = """\
  bash:  orpheus-openai completion bash > ~/.local/share/bash-completion/completions/orpheus-openai
  zsh:   orpheus-openai completion zsh > "${fpath[1]}/_orpheus-openai"
  fish:  orpheus-openai completion fish > ~/.config/fish/completions/orpheus-openai.fish"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe its options."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415  only here

    print(shtab.complete(options.parser, options.shell))
    return 0
