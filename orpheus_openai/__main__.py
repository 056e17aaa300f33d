"""`python -m orpheus_openai` is `orpheus-openai`."""

from orpheus_openai.cli import main

main()
