import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not; for kinds.py and page.py
