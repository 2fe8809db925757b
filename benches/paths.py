"""Where things are. Importing this makes the end-to-end tests' `harness` importable."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

# Every run's raw numbers; not under version control.
RESULTS = HERE / "results"
# Tokens and their keys, from run to run.
KEPT = ROOT / "target/bench"
# The page, and the numbers it is made from.
PAGE = ROOT / "docs/performance.md"
PAGE_DATA = ROOT / "docs/performance"
