"""What Envoy's memory is made of, and what is left in it, as docs/operations.md says."""

import pytest

from harness.issuer import Issuer
from harness.memory import Memory, linear_memories
from harness.stack import plugin
from harness.tokens import Key
from harness.verifier import Verifier
from harness.wait import eventually
from soak.flat import TABLE_KIB, Watch
from test_jwks import Pending

AT_ONCE = 10
LIMIT = {"layered_runtime": {"layers": [{"name": "memory", "static_layer": {"http.async_response_buffer_limit": 1 << 20}}]}}


@pytest.mark.parametrize("runtime", [{}, LIMIT], ids=["default", "limit"])
def test_ten_megabytes_from_somebody_who_is_broken_do_not_stay(pile, runtime):
    """Envoy reads an answer whole before the filter hears how long it is. What it was read into is free again; with the limit that
    operations.md advises it is never taken."""
    verifier = pile.add(Verifier())

    def edit(bootstrap):
        bootstrap.point("verifier", verifier.port)
        bootstrap.doc.update(runtime)

    config = plugin(verifier.provider(cache_ttl="1s", timeout="5s"), callouts={"upstreams": {"verify.test": "verifier"}})
    stack = pile.stack(config, edit=edit)
    verifier.people["tok_bob"] = {"user_id": "bob"}
    stack.allowed(stack.request(token="tok_bob"), user_id="bob")
    before = stack.envoy.memory()
    verifier.fault = "10 MB"
    held = [Pending(stack, token=f"tok_{n}") for n in range(AT_ONCE)]
    assert [p.response().status for p in held] == [503] * AT_ONCE
    verifier.fault = None
    eventually(lambda: stack.request(token="tok_bob").status == 200, "the verifier", 20)
    after = stack.envoy.memory()
    print(f"\n{before}\n{after}")
    # Of all that came a megabyte was read, and what it was is not known then.
    why = "NoResponse" if runtime else "TooLarge"
    assert f"question to verify.test failed: {why}" in stack.envoy.log()
    assert after.in_use < before.in_use * 1.1
    assert after.modules < before.modules + 512
    if runtime:
        assert after.resident < before.resident + AT_ONCE * 1024 + 4096, "the limit is none"


def test_tables_of_replaced_keys_are_bounded(pile):
    """Each ES256 key that was used has a table of 288 KiB in each worker, sixteen of them have; nothing is left of any more."""
    issuer = pile.add(Issuer("https://keys.test", [Key(f"k{n}", "ES256") for n in range(24)]))
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], concurrency=1)

    def used(key):
        stack.allowed(stack.request(token=issuer.token(key)))
        with open(f"/proc/{stack.envoy.pid}/maps") as maps:
            return max(linear_memories(maps.read())) // 1024

    sizes = [used(key) for key in issuer.keys]
    print(f"\n{sizes}")
    assert 14 * 288 <= sizes[15] - sizes[0] <= 16 * 288 + 512
    assert sizes[-1] <= sizes[15] + 128


class Growing:
    """An Envoy whose memory grows by so much with each look."""

    def __init__(self, **growth):
        self._now, self._growth = {"resident": 140_000, "files": 69_000, "modules": 9_000, "allocated": 20_000, "free": 40_000}, growth

    def memory(self):
        for name, kib in self._growth.items():
            self._now[name] += kib
        return Memory(**self._now)


@pytest.mark.parametrize("growth, tables, found", [
    ({}, 0, 0),
    ({"resident": 100, "free": 100}, 0, 0),
    ({"resident": 100, "files": 100}, 0, 0),
    ({"resident": 30, "modules": 30}, 0, 1),
    ({"resident": 30, "modules": 30}, 1, 0),
    ({"resident": 100, "modules": 100}, 1, 1),
    ({"resident": 100, "allocated": 100}, 0, 1),
    ({"resident": 100}, 0, 1),
], ids=["flat", "kept by the allocator", "pages read in", "filter", "tables", "tables and more", "Envoy", "mapped"])
def test_a_soak_finds_what_grows(growth, tables, found):
    """Ninety looks, two thirds of which count; with `tables`, four ES256 keys become new ones on the way."""
    watch = Watch(Growing(**growth), workers=2)
    for n in range(90):
        watch.look(es256_keys=2 + tables * 4 * (n > 45), reloads=0)
    assert len(watch.growth()) == found, (watch.growth(), watch.table)
    assert watch.table["tables"] == tuple(2 * TABLE_KIB * (2 + 4 * tables * late) for late in (0, 1, 1, 1))


def test_a_soak_that_ends_at_once_has_a_report():
    watch = Watch(Growing(), workers=1)
    assert (watch.table, watch.growth()) == ({}, [])
    watch.look(2, 0)
    assert watch.table["resident"] == (None, None, None, 140_000)
    assert watch.growth() == []
