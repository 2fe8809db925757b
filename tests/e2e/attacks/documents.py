"""Key documents as a hostile or broken issuer may serve them: nothing in them is used, and its callers wait for a better one."""

import gzip
import json

from .keys import Signer, ToyRsa, uint


def make(world):
    w = world
    signer = Signer.ec("k")
    jwk = signer.jwk
    good = json.dumps({"keys": [jwk]})
    private = {**jwk, "d": uint(signer.private.private_numbers().private_value, 32)}
    documents = {
        "empty": b"", "html": b"<html>captive portal</html>", "null": b"null", "list": f"[{json.dumps(jwk)}]", "jwk": json.dumps(jwk),
        "no-keys": {"kids": []}, "keys-empty": {"keys": []}, "keys-object": {"keys": {"0": jwk}}, "keys-text": {"keys": good},
        "keys-twice": good[:-1] + ',"keys":[]}', "keys-escaped": '{"keys":[],"ke\\u0079s":' + good[9:],
        "member-twice": good.replace('"kid"', '"kid": "evil", "kid"', 1), "nested-twice": good[:-1] + ',"x":[{"a":1,"a":1}]}',
        "bom": "\ufeff" + good, "utf-16": good.encode("utf-16"), "latin-1": good[:-1].encode() + b',"x":"\xe9"}', "trailing": good + "]",
        "two": good + good, "open": good[:-1], "nan": good[:-1] + ',"x":NaN}', "gzip": gzip.compress(good.encode()), "nul": good + "\0",
        "deep": good[:-1] + ',"x":' + "[" * 2000 + "]" * 2000 + "}", "million-brackets": "[" * 1_000_000,
        "too-large": good[:-1] + ',"x":"' + "x" * (1 << 20) + '"}', "too-many": {"keys": [jwk] * 1025},
        "private": {"keys": [private]}, "oct": {"keys": [{"kty": "oct", "kid": "k", "k": "AAAA"}]},
        "toy": {"keys": [ToyRsa(512).jwk("k")]}, "text": json.dumps(good), "jws": w.token(signer, payload=good),
    }
    for id, document in documents.items():
        body = document if isinstance(document, bytes) else (document if isinstance(document, str) else json.dumps(document)).encode()
        iss = w.add_document(f"doc-{id}", body)
        w.add(id, f"a key document: {id.replace('-', ' ')}", "keys_unavailable", w.token(signer, payload=w.claims(iss)))
    iss = w.add_document("doc-good", good.encode())
    w.control("good", "the document that the others are made from", w.token(signer, payload=w.claims(iss)))
    iss = w.add_document("doc-many", json.dumps({"keys": [jwk] * 1024}).encode())
    w.control("many", "as many keys as are allowed", w.token(signer, payload=w.claims(iss)))
