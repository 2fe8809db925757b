"""Signatures that were not made for this text by this key."""

import json

from .keys import ED_L, ED_P, ORDERS, WIDTHS, Signer, b64, compact, cube_root_forgery, octets, unb64

# Points of order 1, 2, 4, 8 (RFC 7748, and "Taming the many EdDSAs", table 1), canonical encodings.
SMALL_ORDER = {
    "one": (1).to_bytes(32, "little"),
    "two": (ED_P - 1).to_bytes(32, "little"),
    "four": (0).to_bytes(32, "little"),
    "eight": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
}


def make(world):
    w = world
    _any(w)
    _rsa(w)
    _ecdsa(w)
    _eddsa(w)


def _any(w):
    for signer in (w.rsa, w.p256, w.ed):
        token = w.token(signer)
        head, payload, signature = token.split(".")
        raw = unb64(signature)
        ones = b"\xff" * len(raw)
        stolen = b64(octets(w.claims(sub="root")))
        richer = b64(octets({**w.header(signer), "typ": "at+jwt"}))
        for id, what, text in (
            ("stolen", "a genuine signature over other claims", f"{head}.{stolen}.{signature}"),
            ("other-header", "a genuine signature under another header", f"{richer}.{payload}.{signature}"),
            ("respelt", "a genuine signature over the same claims in another order",
             f"{head}.{b64(json.dumps(dict(reversed(w.claims().items()))).encode())}.{signature}"),
            ("truncated", "an octet too short", f"{head}.{payload}.{b64(raw[:-1])}"),
            ("half", "half of it", f"{head}.{payload}.{b64(raw[:len(raw) // 2])}"),
            ("longer", "an octet too long", f"{head}.{payload}.{b64(raw + b'!')}"),
            ("zero-before", "a zero octet before it", f"{head}.{payload}.{b64(bytes(1) + raw)}"),
            ("twice", "twice in a row", f"{head}.{payload}.{b64(raw + raw)}"),
            ("one-octet", "one octet", f"{head}.{payload}.{b64(b'x')}"),
            ("zeros", "zeros", f"{head}.{payload}.{b64(bytes(len(raw)))}"),
            ("ones", "ones", f"{head}.{payload}.{b64(ones)}"),
            ("first-bit", "its first bit flipped", f"{head}.{payload}.{b64(bytes([raw[0] ^ 128]) + raw[1:])}"),
            ("last-bit", "its last bit flipped", f"{head}.{payload}.{b64(raw[:-1] + bytes([raw[-1] ^ 1]))}"),
            ("reversed", "back to front", f"{head}.{payload}.{b64(raw[::-1])}"),
            ("hex", "in hexadecimal", f"{head}.{payload}.{b64(raw.hex().encode())}"),
            ("over-claims", "over the claims without the header",
             f"{head}.{payload}.{b64(signer.sign(payload.encode()))}"),
            ("over-json", "over the texts before they were encoded",
             f"{head}.{payload}.{b64(signer.sign(unb64(head) + b'.' + unb64(payload)))}"),
        ):
            w.add(f"{signer.alg}-{id}", f"{signer.alg}: {what}", "bad_signature", text)
        w.add(f"{signer.alg}-other-alg", f"{signer.alg}: a genuine signature of another kind of key", "bad_signature",
              f"{head}.{payload}.{w.token(w.p384).split('.')[2]}")


def _rsa(w):
    n = w.rsa.numbers.n

    def token(value, size=256):
        return w.token(sign=value.to_bytes(size, "big"))

    for id, value, size in (("one", 1, 256), ("n", n, 256), ("n-minus-1", n - 1, 256), ("short-one", 1, 1)):
        w.add(f"rsa-{id}", f"RSA: {id.replace('-', ' ')}", "bad_signature", token(value, size))
    genuine = w.token()
    s = int.from_bytes(unb64(genuine.split(".")[2]), "big")
    body = genuine.rpartition(".")[0]
    w.add("rsa-plus-n", "RSA: the genuine number plus the modulus", "bad_signature", f"{body}.{b64((s + n).to_bytes(257, 'big'))}")
    w.add("rsa-minus", "RSA: the modulus minus the genuine number", "bad_signature", f"{body}.{b64((n - s).to_bytes(256, 'big'))}")

    cubic = Signer.rsa("cubic", exponent=3)
    iss = w.add_issuer("cubic", [cubic.jwk])
    w.control("rsa-e3", "e = 3 is legal (RFC 8017 section 3.1), and sound where the padding is compared as a whole",
              w.token(cubic, payload=w.claims(iss)))
    w.add("rsa-cube-root", "Bleichenbacher's cube root: rubbish behind the hash, no private key", "bad_signature",
          w.token(cubic, payload=w.claims(iss), sign=lambda m: cube_root_forgery(m, 256)))


def _ecdsa(w):
    for signer in (w.p256, w.p384, w.p521):
        curve, name = signer.curve, signer.alg
        order, width = ORDERS[curve], WIDTHS[curve]
        head, payload, signature = w.token(signer).split(".")
        message = f"{head}.{payload}".encode()
        r, s = signer.split(unb64(signature))

        def token(raw):
            return f"{head}.{payload}.{b64(raw)}"

        def pair(r, s):
            return token(r.to_bytes(width, "big") + s.to_bytes(width, "big"))

        # RFC 7518 section 3.4 asks for no low s: both halves are one signature by its key's holder.
        w.control(f"{name}-high-s", f"{name}: s replaced by n - s", pair(r, order - s))
        for id, what, text in (
            ("r0-s0", "r = s = 0", pair(0, 0)), ("r0", "r = 0", pair(0, s)), ("s0", "s = 0", pair(r, 0)),
            ("r1-s1", "r = s = 1", pair(1, 1)), ("rn", "r = n", pair(order, s)), ("sn", "s = n", pair(r, order)),
            ("rn-sn", "r = s = n", pair(order, order)), ("r-minus-1", "r = n - 1", pair(order - 1, s)),
            ("swapped", "r and s swapped", pair(s, r)), ("r-only", "r twice", pair(r, r)),
            ("negative-r", "n - r", pair(order - r, s)),
            ("der", "DER, as X.509 writes it", token(signer.der_signature(message))),
            ("der-cut", "DER, cut to the length of P1363", token(signer.der_signature(message)[:2 * width])),
            ("padded", "both numbers one octet wider", token(r.to_bytes(width + 1, "big") + s.to_bytes(width + 1, "big"))),
            ("short", "both numbers one octet narrower", token(unb64(signature)[1:width] + unb64(signature)[width + 1:])),
            ("three", "a third number", token(unb64(signature) + s.to_bytes(width, "big"))),
            ("long-zeros", "zeros in a kilobyte", token(bytes(1024))),
        ):
            w.add(f"{name}-{id}", f"{name}: {what}", "bad_signature", text)
    p256 = w.p256
    head, payload, signature = w.token(p256).split(".")
    r, s = p256.split(unb64(signature))
    order = ORDERS["P-256"]
    if_fits = (s + order) % 2**256
    w.add("ES256-s-plus-n", "ES256: s + n, cut to 256 bits", "bad_signature",
          f"{head}.{payload}.{b64(r.to_bytes(32, 'big') + if_fits.to_bytes(32, 'big'))}")
    w.add("ES512-64-octets", "ES512: numbers of 64 octets", "bad_signature",
          w.token(w.p521, sign=b"\1" * 128))
    w.add("ES256-ES384", "a P-384 signature for ES256", "bad_signature", w.token(p256, sign=lambda m: w.p384.sign(m)))


def _eddsa(w):
    head, payload, signature = w.token(w.ed).split(".")
    raw = unb64(signature)
    point, s = raw[:32], int.from_bytes(raw[32:], "little")

    def token(r, s):
        return f"{head}.{payload}.{b64(r + s.to_bytes(32, 'little'))}"

    w.add("EdDSA-s-plus-l", "EdDSA: S + L, another spelling of S", "bad_signature", token(point, s + ED_L))
    w.add("EdDSA-s-l", "EdDSA: S = L", "bad_signature", token(point, ED_L))
    w.add("EdDSA-s-top-bit", "EdDSA: the top bit of S", "bad_signature", token(point, s | 1 << 255))
    w.add("EdDSA-r-sign", "EdDSA: the sign of R flipped", "bad_signature", token(point[:31] + bytes([point[31] ^ 128]), s))
    for id, encoded in SMALL_ORDER.items():
        w.add(f"EdDSA-r-order-{id}", f"EdDSA: R of order {id}, S = 0", "bad_signature", token(encoded, 0))
    w.add("EdDSA-r-not-reduced", "EdDSA: R not reduced", "bad_signature", token((ED_P + 1).to_bytes(32, "little"), 0))
    w.add("EdDSA-r-no-point", "EdDSA: R is no point", "bad_signature", token((2).to_bytes(32, "little"), s))
    w.add("EdDSA-ed448-size", "EdDSA: 114 octets, as Ed448 has them", "bad_signature", compact(w.header(w.ed), w.claims(), bytes(114)))
