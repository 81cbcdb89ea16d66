import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # for tones.py
sys.path.insert(0, str(Path(__file__).parents[1] / "tasks"))  # for trees.py
