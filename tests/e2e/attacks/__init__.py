"""A corpus of hostile tokens, requests and key sets, made anew on every run: keys and times are fresh.

`corpus()` makes the whole `World`: one plugin configuration, the key documents that it fetches, and the cases. Each case says
what the filter must answer, and how many signatures it may verify for it. `test_attacks.py` sends them through Envoy;
`tests/attacks.rs` hands the very same to the core (`python -m attacks` prints them) and counts.
"""

from . import algorithms, audiences, documents, encodings, headers, issuers, json_texts, key_choice, key_sets, requests, signatures, times
from .world import World

# The order of docs/attacks.md.
CLASSES = [
    algorithms, key_choice, headers, encodings, json_texts, times, audiences, issuers, signatures, key_sets, documents, requests,
]


def corpus():
    """A fresh world with every case in it."""
    world = World()
    for module in CLASSES:
        world.begin(module.__name__.rpartition(".")[2], module.__doc__.splitlines()[0].rstrip("."))
        module.make(world)
    return world
