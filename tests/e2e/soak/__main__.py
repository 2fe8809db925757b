"""Runs a soak, and prints and keeps its report.

    python -m soak --minutes 3 --seed 1 --report ../../docs/soak.md
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .page import page
from .run import Soak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=int, default=100, help="requests per second of all clients together")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--report", type=Path, help="where to keep the report")
    options = parser.parse_args()
    print(f"soak: {options.minutes:g} minutes, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="portcullis-soak-") as folder:
        soak = Soak(Path(folder), minutes=options.minutes, seed=options.seed, rate=options.rate, clients=options.clients)
        facts = soak.run()
    text = page(facts)
    print(text)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
    if facts["violations"]:
        sys.exit(f"{len(facts['violations'])} violations; again with --seed {options.seed}")


if __name__ == "__main__":
    main()
