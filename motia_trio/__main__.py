"""``python -m motia_trio``: the same as the command."""

from motia_trio.cli import main

main()
