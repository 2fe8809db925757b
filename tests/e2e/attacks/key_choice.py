"""The key that the header names."""

from .keys import Signer


def make(world):
    w = world
    for alg, kid in (
        ("ES256", "rsa-1"), ("EdDSA", "rsa-1"), ("RS256", "ec-256"), ("EdDSA", "ec-256"), ("RS256", "ed-1"),
        ("ES256", "ed-1"), ("ES384", "ec-256"), ("ES512", "ec-256"), ("ES256", "ec-384"), ("ES256", "ec-521"),
        ("RS512", "rsa-1"),
    ):
        w.add(f"{alg}-for-{kid}", f"{alg} with the kid of another kind of key", "key_mismatch", w.token(alg=alg, kid=kid))
    for id, kid in {
        "case": "RSA-1", "space": "rsa-1 ", "prefix": "rsa-", "longer": "rsa-12", "empty": "", "star": "*", "nul": "rsa-1\0",
        "homoglyph": "rs\u0430-1", "mallory": "mallory",
    }.items():
        w.add(f"kid-{id}", f"kid {kid!r}, by the genuine key", "unknown_kid", w.token(kid=kid))
    w.add("no-kid", "no kid where the set has several keys", "missing_kid", w.token(kid=None))
    w.add("foreign-key", "another key under the issuer's kid", "bad_signature", w.token(w.mallory, kid="rsa-1"))
    w.add("foreign-ec-key", "another EC key under the issuer's kid", "bad_signature", w.token(Signer.ec("x"), kid="ec-256"))
    w.add("foreign-ed-key", "another Ed25519 key under the issuer's kid", "bad_signature", w.token(Signer.ed("x"), kid="ed-1"))
    w.add("sibling-key", "signed by another key of the same set", "bad_signature", w.token(w.rsa_any, kid="rsa-1", alg="RS256"))

    other = Signer.ec("other-ec")
    iss = w.add_issuer("other", [other.jwk])
    w.control("other-issuer", "another issuer's good token", w.token(other, payload=w.claims(iss)))
    w.add("cross-issuer-kid", "an issuer's key vouches for another issuer", "unknown_kid", w.token(other))
    w.add("cross-issuer-back", "and the other way round", "unknown_kid", w.token(payload=w.claims(iss)))
    w.add("cross-issuer-same-kid", "another issuer's key under this one's kid", "bad_signature", w.token(other, kid="ec-256"))

    pair = Signer.rsa("pair"), Signer.ec("pair")
    iss = w.add_issuer("two-types", [s.jwk for s in pair])
    for signer in pair:
        w.control(f"two-types-{signer.alg}", f"one kid for two types of key, meant for {signer.alg}",
                  w.token(signer, payload=w.claims(iss)))
    w.add("two-types-neither", "one kid for two types of key, and a third is asked for", "key_mismatch",
          w.token(w.ed, kid="pair", payload=w.claims(iss)))
    w.add("two-types-curve", "one kid for two types of key, and another curve is asked for", "key_mismatch",
          w.token(w.p384, kid="pair", payload=w.claims(iss)))

    one, two = Signer.ec("twin"), Signer.ec("twin")
    iss = w.add_issuer("twins", [one.jwk, two.jwk])
    for id, signer in (("first", one), ("second", two)):
        w.add(f"twins-{id}", f"two different keys under one kid, signed by the {id}", "key_mismatch",
              w.token(signer, payload=w.claims(iss)))
    iss = w.add_issuer("same-twice", [one.jwk, one.jwk])
    w.control("same-twice", "the same key twice under one kid", w.token(one, payload=w.claims(iss)))
    # Whoever can add a key to a set before the genuine one must not take its kid over.
    weak = {**two.jwk, "use": "enc"}
    iss = w.add_issuer("shadow", [weak, one.jwk])
    w.add("shadow", "signed by a key for encryption under the genuine key's kid", "bad_signature",
          w.token(two, payload=w.claims(iss)))
    w.control("shadow-genuine", "the genuine key beside one for encryption", w.token(one, payload=w.claims(iss)))

    nameless = {k: v for k, v in one.jwk.items() if k != "kid"}
    iss = w.add_issuer("nameless", [nameless])
    w.control("nameless", "one key without kid, a token without kid", w.token(one, kid=None, payload=w.claims(iss)))
    w.add("nameless-kid", "one key without kid, a token with one", "unknown_kid", w.token(one, payload=w.claims(iss)))
    w.add("nameless-alg", "one key without kid, of another type", "missing_kid", w.token(w.ed, kid=None, payload=w.claims(iss)))
    iss = w.add_issuer("nameless-two", [nameless, {k: v for k, v in two.jwk.items() if k != "kid"}])
    w.add("nameless-two", "two keys without kid, and none is tried on suspicion", "missing_kid",
          w.token(one, kid=None, payload=w.claims(iss)))
