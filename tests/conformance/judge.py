"""Verdicts against labels: what is right, what is an exception, and what is wrong.

A `Row` is one vector judged in one environment. Wrong is what differs from its label without being an exception, and
what is an exception without differing.
"""

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

EXCEPTIONS = Path(__file__).resolve().parent / "exceptions.json"


@dataclass
class Row:
    """`run` is `tokens` or `raw`, `ok` what its runner says of it: True, False, or None for either."""

    run: str
    set: str
    environment: str
    id: str
    expect: str
    got: str
    ok: bool | None
    detail: str = ""
    # Through a gateway: the answer was no 4xx but an error.
    fault: bool = False

    @property
    def key(self):
        return (self.run, self.set, self.id)


@dataclass
class Exceptions:
    """`vectors`: (run, id) to entry. `rules`: (run, rule) to entry. `matches`: (run, id) to the rule it falls under."""

    vectors: dict
    rules: dict
    matches: dict = field(default_factory=dict)

    @classmethod
    def load(cls, path=EXCEPTIONS):
        document = json.loads(path.read_text())
        vectors = {(e["run"], e["id"]): e for e in document["vectors"]}
        assert len(vectors) == len(document["vectors"]), "an exception stands twice"
        rules = {(e["run"], e["rule"]): e for e in document["rules"]}
        for entry in [*document["vectors"], *document["rules"]]:
            assert entry["outcome"] in ("accept", "reject") and entry["reason"].endswith("."), entry
        return cls(vectors, rules)

    def of(self, row):
        """The exception for a row, or None."""
        entry = self.vectors.get((row.run, row.id))
        rule = self.matches.get((row.run, row.id))
        return entry or self.rules.get((row.run, rule))

    def learn(self, groups):
        """Finds out which tokens of the runner's `groups` fall under a rule."""
        for group in groups:
            for case in group["cases"]:
                if case["expect"] == "accept" and (rule := rule_of(group, case)) and ("tokens", rule) in self.rules:
                    self.matches["tokens", case["id"]] = rule


def rule_of(group, case):
    """The rule a token that is published as valid falls under."""
    try:
        header, payload = (json.loads(_unbase64(part)) for part in case["token"].split(".")[:2])
        # A published set is an object, or its text.
        jwks = json.loads(group["jwks"]) if isinstance(group["jwks"], str) else group["jwks"]
    except ValueError:
        return None
    if "kid" in header:
        return "no-audience" if "aud" not in payload else None
    # Without an audience it is refused, as the policy that the runner was given has it.
    fitting = [key for key in jwks["keys"] if fits(key, header["alg"])]
    accepted = "aud" in payload and len(fitting) == 1 and "kid" not in fitting[0]
    return "only-key-has-no-kid" if accepted else None


# RFC 7518 section 3.1, RFC 8037 section 3.1.
_KEYS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519"),
}


def fits(key, alg):
    """Whether a key says that it can be one for an algorithm."""
    kind = (key.get("kty"), key.get("crv"))
    return kind == _KEYS.get(alg) and key.get("alg", alg) == alg and key.get("use", "sig") == "sig"


def _unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Judgement:
    """`counts` by (run, set, environment); `used` are the exceptions met: {(run, id): entry}."""

    counts: dict
    used: dict
    wrong: list


def judge(rows, exceptions):
    counts, used, wrong = {}, {}, []
    for row in rows:
        tally = counts.setdefault((row.run, row.set, row.environment), Counter())
        entry = exceptions.of(row)
        tally["fault"] += row.fault
        if entry is None:
            outcome = {True: "right", None: "either", False: "wrong"}[row.ok]
        elif row.ok is not False:
            outcome = "wrong"
            row.detail = f"judged as labelled, yet an exception: {entry['reason']}"
        elif (row.got == "accept") == (entry["outcome"] == "accept"):
            outcome = "exception"
            used[row.run, row.id] = entry
        else:
            outcome = "wrong"
            row.detail = f"an exception whose outcome is {entry['outcome']}"
        tally[outcome] += 1
        if outcome == "wrong":
            wrong.append(f"{row.environment}: {row.set}: {row.id}: expected {row.expect}, got {row.got}; {row.detail}")
    return Judgement(counts, used, wrong)


def disagreements(rows):
    """Vectors on which two environments have another verdict. Sides with the label or not, only one can be right."""
    verdicts = {}
    for row in rows:
        # How a gateway says no (401, 503, no start) is no verdict of its own, and neither is "not offered".
        verdict = row.got if row.got == "accept" or row.got.isdigit() else "refused"
        verdicts.setdefault(row.key, {}).setdefault(verdict, []).append(row.environment)
    return [f"{key[1]}: {key[2]}: {found}" for key, found in verdicts.items() if len(found) > 1]
