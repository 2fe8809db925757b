"""Where things are, relative to the project's root. A missing artefact is an error, never a skip."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ENVOY = ROOT / ".venv/bin/envoy"
PROGRAM = ROOT / "dist/portcullis"
WASM = ROOT / "dist/portcullis.wasm"
ENVOY_YAML = ROOT / "envoy/envoy.yaml"
NODE_PEERS = ROOT / "tests/e2e/node"

_MADE_BY = {
    ENVOY: "make setup",
    PROGRAM: "make build",
    WASM: "make build",
    NODE_PEERS / "node_modules": "make setup",
}


def require(*paths):
    """Raises `FileNotFoundError` naming the command that makes what is missing."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path.relative_to(ROOT)} is missing; `{_MADE_BY.get(path, 'git checkout')}` makes it")
