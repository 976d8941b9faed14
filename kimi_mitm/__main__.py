"""`python -m kimi_mitm`."""

from kimi_mitm.cli import main

main()
