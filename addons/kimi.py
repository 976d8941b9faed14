"""`mitmdump -s addons/kimi.py`: finds the package beside this folder and loads the addon."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kimi_mitm.addon import KimiMitm

addons = [KimiMitm()]
