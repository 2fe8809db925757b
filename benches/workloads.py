"""The workloads: who is measured with what, and what question that answers."""

import dataclasses
import json

import apikeys
import aws
from contestants import (NONE, SMALL_CACHE, Contestant, five, native_api_keys, native_jwt, noop, oidc, one_provider,
                         others, portcullis)
from harness.paths import ROOT
from harness.sts import Sts
from tokens import ALGORITHMS, Issuer
from traffic import Probe, Traffic, bearer, wire, write


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a workload's table: a contestant and what it is sent.

    `refused`: every answer must be a refusal. `hits`: the part of the tokens that must be in its cache, `all` or `none`.
    `warm_all`: the whole traffic passes once before anything is measured.
    """

    label: str
    contestant: Contestant
    traffic: Traffic
    probes: list[Probe]
    refused: bool = False
    hits: str | None = None
    warm_all: bool = False
    connections: int | None = None
    workers: int | None = None
    # In a series: how much of the thing there is.
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Workload:
    """Entries that are measured in alternating rounds; ratios are to the entry called `base`."""

    name: str
    title: str
    entries: list[Entry]
    base: str
    note: str = ""
    workers: int = 1
    proxied: bool = False
    connections: int = 16
    warm_seconds: int = 1


class Ground:
    """What workloads are made from: tokens, keys and files of requests, each made once and only when asked for.

    `kept` outlives the run, `workdir` does not. `close` ends the STS.
    """

    def __init__(self, kept, workdir, tokens=20_000):
        self.issuer = Issuer(kept / "tokens")
        self.tokens = tokens
        self._workdir = workdir
        self._traffic = {}
        self._sts = None
        self.api_keys = {}

    def once(self, name, count, requests):
        """The traffic called `name`; `requests()` yields its `count` requests."""
        if name not in self._traffic:
            self._traffic[name] = write(self._workdir / f"{name}.requests", requests(), count)
        return self._traffic[name]

    def cycling(self, algorithm, count):
        """`count` tokens in turn."""
        return self.once(f"{algorithm}-{count}", count, lambda: map(bearer, self.issuer.mint(algorithm, count)))

    def forged(self, algorithm, count):
        """As many forged ones."""
        return self.once(f"forged-{algorithm}-{count}", count, lambda: map(bearer, self.issuer.forged(algorithm, count)))

    def expired(self):
        return self.once("expired", 1, lambda: [bearer(self.issuer.expired("RS256")[0])])

    def nothing(self):
        """A request without a credential."""
        return self.once("nothing", 1, lambda: [wire()])

    def keys(self, count):
        """(keys, traffic that uses each in turn)"""
        if count not in self.api_keys:
            self.api_keys[count] = apikeys.make(count)
        keys = self.api_keys[count]
        return keys, self.once(f"keys-{count}", count, lambda: map(apikeys.request, keys))

    def sts(self):
        if self._sts is None:
            self._sts = Sts()
        return self._sts

    def close(self):
        if self._sts is not None:
            self._sts.close()


def catalogue():
    """name -> what makes that workload from a `Ground`."""
    return {
        "repeated": repeated,
        "cycling": cycling,
        **{f"new-{algorithm.lower()}": _new(algorithm) for algorithm in ALGORITHMS},
        **{f"api-keys-{count}": _api_keys(count) for count in (1, 1000, 100_000)},
        "sigv4": sigv4,
        "sts": sts,
        "chain": chain,
        "globs": globs,
        "refused": refused,
        "refused-forged": refused_forged,
        "proxied-repeated": lambda ground: _elsewhere(ground, proxied=True),
        "proxied-new-rs256": lambda ground: _elsewhere_new(ground, proxied=True),
        "workers-2-repeated": lambda ground: _elsewhere(ground, workers=2),
        "workers-2-new-rs256": lambda ground: _elsewhere_new(ground, workers=2),
    }


def _ours(ground, **blocks):
    """Every feature on."""
    return portcullis(five(ground.issuer), **blocks)


def repeated(ground):
    issuer, traffic = ground.issuer, ground.cycling("RS256", 1)
    probes = issuer.probes("RS256") + issuer.probes("ES256")
    contestants = [
        NONE, noop("read1"), noop("sets3"), native_jwt(issuer), native_jwt(issuer, cache=100),
        native_jwt(issuer, cache=100, claims=True), _ours(ground), one_provider(issuer),
    ]
    # `native` verifies it each time: that is Envoy's default.
    hits = {"native": None}
    entries = [Entry(c.name, c, traffic, probes, hits=hits.get(c.name, "all")) for c in contestants]
    return Workload("repeated", "One token repeated", entries, "native-cache-claims")


def cycling(ground):
    issuer, traffic = ground.issuer, ground.cycling("RS256", ground.tokens)
    probes = issuer.probes("RS256")
    large = native_jwt(issuer, cache=5 * ground.tokens, claims=True, name="native-large-cache-claims")
    return Workload(
        "cycling", f"{ground.tokens:,} tokens in turn, all of them in the cache",
        [
            Entry("noop-set3", noop("sets3"), traffic, probes),
            Entry("native-claims", native_jwt(issuer, claims=True), traffic, probes),
            Entry("native-large-cache-claims", large, traffic, probes, hits="all", warm_all=True),
            Entry("portcullis", _ours(ground), traffic, probes, hits="all", warm_all=True),
        ],
        "native-large-cache-claims",
        "native-large-cache-claims has room for all of them; native-claims has no cache, which is Envoy's default.")


def _new(algorithm):
    def make(ground):
        issuer, traffic = ground.issuer, ground.cycling(algorithm, ground.tokens)
        probes = issuer.probes(algorithm)
        small = {"limits": {"cached_tokens": SMALL_CACHE}}
        entries = [
            Entry("native", native_jwt(issuer), traffic, probes),
            Entry("native-claims", native_jwt(issuer, claims=True), traffic, probes),
            Entry("portcullis", _ours(ground, **small), traffic, probes, hits="none"),
        ]
        if algorithm == "RS256":
            thrashing = native_jwt(issuer, cache=SMALL_CACHE, claims=True)
            entries.insert(2, Entry(thrashing.name, thrashing, traffic, probes, hits="none"))
        if algorithm == "ES256" and _has_tables():
            tables = _ours(ground, name="portcullis-tables", crypto={"es256": "tables"}, **small)
            entries.append(Entry("portcullis-tables", tables, traffic, probes, hits="none"))
        return Workload(
            f"new-{algorithm.lower()}", f"Every token new, {algorithm}", entries, "native",
            f"{ground.tokens:,} tokens in turn, past a cache of {SMALL_CACHE:,}: none is found there when it comes again.")
    return make


def _has_tables():
    """Whether this version can verify ES256 by tables of its own."""
    schema = (ROOT / "schema/portcullis.schema.json").read_text()
    return '"tables"' in json.dumps(_named(json.loads(schema), "es256"))


def _named(node, name):
    if isinstance(node, dict):
        return [value for key, value in node.items() if key == name] + [f for v in node.values() for f in _named(v, name)]
    return [f for v in node for f in _named(v, name)] if isinstance(node, list) else []


def _api_keys(count):
    def make(ground):
        keys, traffic = ground.keys(count)
        probes = apikeys.probes(keys)
        ours = portcullis(five(ground.issuer, keys), shows=("user-id",))
        return Workload(
            f"api-keys-{count}", f"API keys, {count:,} of them in turn",
            [
                Entry("noop-set3", noop("sets3"), traffic, probes),
                Entry("native-api-key", native_api_keys(keys), traffic, probes),
                Entry("portcullis", ours, traffic, probes),
            ],
            "noop-set3",
            "Envoy's api_key_auth keeps the keys themselves, compares text and sets one header; Portcullis keeps digests, "
            "and judges validity and scope.")
    return make


def sigv4(ground):
    count = ground.tokens
    ours, probes = aws.signed_contestant(), aws.signed_probes()
    same = ground.once("signed-1", 1, lambda: [aws.signed()])
    # The path is signed too, so each of these is another signature.
    new = ground.once("signed-new", count, lambda: (aws.signed(f"/rest/orders/{n:06d}") for n in range(count)))
    return Workload(
        "sigv4", "Requests signed with AWS Signature Version 4, verified here",
        [
            Entry("noop-set3", noop("sets3"), same, probes),
            Entry("portcullis, one repeated", ours, same, probes),
            Entry("portcullis, each new", ours, new, probes),
        ],
        "noop-set3", "Envoy has no filter that verifies such requests; the no-op filter does no cryptography.")


def sts(ground):
    peer = ground.sts()
    count = 100
    traffic = ground.once("sts", count, lambda: [bearer(aws.presigned(peer, number)) for number in range(count)])
    probes = aws.sts_probes(peer)
    return Workload(
        "sts", f"STS identities, {count} in turn, answers remembered",
        [
            Entry("noop-set3", noop("sets3"), traffic, probes),
            Entry("portcullis", aws.sts_contestant(peer), traffic, probes, warm_all=True),
        ],
        "noop-set3", "Envoy has no filter that asks STS; the no-op filter does no cryptography.")


def chained(ground, count):
    """A chain of `count` issuers, of which the token's own is the last."""
    return portcullis([*others(ground.issuer, count - 1), oidc(ground.issuer)], name=f"chain-{count}")


def chain(ground):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    entries = [Entry(f"{count} providers", chained(ground, count), traffic, probes, hits="all", size=count) for count in (1, 5, 20)]
    return Workload("chain", "Chains of providers, the last one's token repeated", entries, "1 providers")


def globbed(ground, count):
    """An allow-list of `count` globs, of which the last matches."""
    patterns = [f"team-{number:06d}-*" for number in range(count - 1)] + ["agent-planner-*"]
    return portcullis([oidc(ground.issuer, allowed_subjects=patterns)], name=f"globs-{count}")


def globs(ground):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    entries = [Entry(f"{count} globs", globbed(ground, count), traffic, probes, hits="all", size=count) for count in (1, 100, 10_000)]
    return Workload("globs", "Allow-lists, the last glob matches, a token repeated", entries, "1 globs")


def refused(ground):
    issuer, probes = ground.issuer, ground.issuer.probes("RS256")
    native, ours = native_jwt(issuer, cache=100, claims=True), _ours(ground)
    forged = ground.forged("RS256", 1)
    kinds = [("accepted", ground.cycling("RS256", 1)), ("no token", ground.nothing()), ("expired", ground.expired()),
             ("forged", forged)]
    entries = [Entry(f"{who.name}, {what}", who, traffic, probes, refused=what != "accepted")
               for who in (native, ours) for what, traffic in kinds]
    return Workload("refused", "Refusals beside acceptances, one credential repeated", entries, "portcullis, accepted")


def refused_forged(ground):
    issuer, count, probes = ground.issuer, ground.tokens, ground.issuer.probes("RS256")
    native = native_jwt(issuer, claims=True)
    ours = _ours(ground, limits={"cached_tokens": SMALL_CACHE})
    entries = [Entry(f"{who.name}, {what}", who, traffic, probes, refused=what == "forged")
               for who in (native, ours)
               for what, traffic in (("accepted", ground.cycling("RS256", count)), ("forged", ground.forged("RS256", count)))]
    return Workload("refused-forged", "Forged tokens beside good ones, each new, RS256", entries, "portcullis, accepted")


def _elsewhere(ground, **where):
    """`repeated` in other surroundings."""
    issuer, traffic, probes = ground.issuer, ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    contestants = [NONE, noop("sets3"), native_jwt(issuer, cache=100, claims=True), _ours(ground)]
    entries = [Entry(c.name, c, traffic, probes, hits="all") for c in contestants]
    return Workload(_prefix(where) + "repeated", f"One token repeated, {_words(where)}", entries, "native-cache-claims", **where)


def _elsewhere_new(ground, **where):
    issuer, traffic, probes = ground.issuer, ground.cycling("RS256", ground.tokens), ground.issuer.probes("RS256")
    entries = [
        Entry("native-claims", native_jwt(issuer, claims=True), traffic, probes),
        Entry("portcullis", _ours(ground, limits={"cached_tokens": SMALL_CACHE}), traffic, probes, hits="none"),
    ]
    return Workload(_prefix(where) + "new-rs256", f"Every token new, RS256, {_words(where)}", entries, "native-claims", **where)


def _prefix(where):
    return "proxied-" if where.get("proxied") else f"workers-{where['workers']}-"


def _words(where):
    return "passed on to an upstream" if where.get("proxied") else f"{where['workers']} workers"
