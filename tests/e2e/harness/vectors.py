"""The vector folder's own runners, as they are: `../shared/vectors`, or PORTCULLIS_VECTORS."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .paths import ENVOY, ROOT, WASM, require

VECTORS = Path(os.environ.get("PORTCULLIS_VECTORS") or ROOT / "../shared/vectors").resolve()


def rows(script, out, *args):
    """Runs one of them against the built module; a row for each verdict.

    On a busy machine the runner's time for starting a proxy can be too short, so what did not start is run once more.
    """
    require(ENVOY, WASM)
    found = _run(script, out, *args)
    late = {row["group"] for row in found if row["detail"] == "did not start"}
    if late:
        again = _run(script, out, *args, "--only", f"^({'|'.join(sorted(late))})(/|$)")
        found = [row for row in found if row["group"] not in late] + again
    return found


def _run(script, out, *args):
    command = [sys.executable, VECTORS / script, "--out", out, *args]
    env = {**os.environ, "ENVOY_BIN": str(ENVOY), "PORTCULLIS_WASM": str(WASM), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([str(a) for a in command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)
    assert out.exists(), f"{script} gave no result:\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    document = json.loads(out.read_text())
    out.unlink()
    return document["rows"]
