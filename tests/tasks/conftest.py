import sys
from pathlib import Path

# importlib mode does not; for trees.py, and for the fast model of the evaluation's tests
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
