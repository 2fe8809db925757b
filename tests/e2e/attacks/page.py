"""docs/attacks.md, from the corpus itself."""

HEAD = """\
# Attacks

What the test suite sends that must not get in, made anew with fresh keys and times on every run (`tests/e2e/attacks`). Each case goes
through real Envoy and must be refused with the status, `reason` and `code` that belong to it, without reaching the upstream
(`tests/e2e/test_attacks.py`); the same cases go to the core, where signature verifications are counted: none for what can be told
without one, one at most for anything (`tests/attacks.rs`). Controls are the good neighbours of hostile cases: they must be let in.

This page is written by the corpus: `make attacks-page`; a test checks that it is.

| class | hostile | controls | codes |
|---|--:|--:|---|
"""


def markdown(world):
    """The page."""
    lines = []
    for found in world.classes:
        hostile = [c for c in found.cases if c.hostile]
        codes = {}
        for case in hostile:
            name = f"`{case.code}`" if case.code else f"{case.envoy} by Envoy"
            codes[name] = codes.get(name, 0) + 1
        listed = ", ".join(f"{name} {n}" for name, n in sorted(codes.items(), key=lambda item: (-item[1], item[0])))
        lines.append(f"| {found.title} (`{found.name}`) | {len(hostile)} | {len(found.cases) - len(hostile)} | {listed} |")
    hostile = sum(c.hostile for c in world.cases)
    lines.append(f"| all | {hostile} | {len(world.cases) - hostile} | |")
    return HEAD + "\n".join(lines) + "\n"
