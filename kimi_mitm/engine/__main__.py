"""`python -m kimi_mitm.engine`: see `loop`."""

import sys

from kimi_mitm.engine.loop import main

if __name__ == "__main__":
    sys.exit(main())
