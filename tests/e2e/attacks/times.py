"""exp, nbf and iat."""


def make(world):
    w = world
    now = w.now
    sharp = w.add_issuer("sharp", [w.p256.jwk], clock_skew="0s")
    aged = w.add_issuer("aged", [w.p256.jwk], max_token_age="10m")

    def of(iss=None, **claims):
        return w.token(w.p256, payload=w.claims(**({"iss": iss} if iss else {}), **claims))

    def raw(name, text):
        return w.token(payload=w.payload(**{name: text}))

    w.add("expired-1s", "expired a second ago, no leeway", "expired", of(sharp, exp=now - 1))
    w.add("expired-now", "expires this second, no leeway", "expired", of(sharp, exp=now))
    w.control("not-expired", "an hour to go, no leeway", of(sharp))
    w.add("expired-31s", "expired 31 seconds ago, 30 of leeway", "expired", of(exp=now - 31))
    w.add("expired-year", "expired a year ago", "expired", of(exp=now - 31_536_000))
    w.add("expired-cents", "expired a moment ago, in fractions", "expired", of(sharp, exp=now - 0.001))
    w.control("fraction", "an exp with a fraction", of(exp=now + 3600.25))
    w.add("no-exp", "no exp", "missing_expiry", of(exp=None))
    w.add("future-1s", "nbf ahead of the leeway", "not_yet_valid", of(nbf=now + 3600))
    w.add("future-sharp", "nbf ahead, no leeway", "not_yet_valid", of(sharp, nbf=now + 600))
    w.control("nbf-now", "nbf now", of(sharp, nbf=now))
    w.control("iat-future", "iat ahead, where nobody asks for it", of(iat=now + 3000))
    w.add("iat-future-aged", "iat ahead, where max_token_age is set", "not_yet_valid", of(aged, iat=now + 3000))
    w.add("iat-old", "older than max_token_age", "too_old", of(aged, iat=now - 700))
    w.add("iat-missing", "no iat where max_token_age is set", "too_old", of(aged, iat=None))
    w.add("iat-negative", "iat before 1970", "too_old", of(aged, iat=-1))
    w.control("iat-fresh", "younger than max_token_age", of(aged))

    wrong = {
        "text": f'"{now + 3600}"', "null": "null", "true": "true", "false": "false", "list": f"[{now + 3600}]", "object": "{}",
        "nan": '"NaN"', "infinity": '"Infinity"', "empty": '""', "date": '"2099-01-01T00:00:00Z"',
    }
    for name in ("exp", "nbf", "iat"):
        for id, text in wrong.items():
            w.add(f"{name}-{id}", f"{name} is {text}", "malformed_claims", raw(name, text))
        for id, text in {"1e400": "1e400", "leading-zero": f"0{now}", "nan-literal": "NaN", "plus": f"+{now}", "hex": "0x7fffffff",
                         "two-numbers": f"{now} {now}"}.items():
            w.add(f"{name}-{id}", f"{name} is {text}", "malformed_token", raw(name, text))
    for id, text in {
        "zero": "0", "minus-zero": "-0", "negative": "-1", "negative-huge": "-1e300", "i64-min": str(-(2**63)), "tiny": "1e-300",
        "below-i64": str(-(2**63) - 1),
    }.items():
        w.add(f"exp-{id}", f"exp is {text}", "expired", raw("exp", text))
    # Late is late, however it is written: none of them may wrap around into the past, or into "never yet".
    for id, text in {
        "2-53": str(2**53 + 1), "2-63": str(2**63), "2-64": str(2**64), "1e300": "1e300", "u64-max": str(2**64 - 1), "millis": str(now * 1000),
        "exponent": f"{now + 3600}e0",
    }.items():
        w.control(f"exp-{id}", f"exp is {text}", raw("exp", text))
        if id != "exponent":
            w.add(f"nbf-{id}", f"nbf is {text}", "not_yet_valid", raw("nbf", text))
    w.add("nbf-over-exp", "valid from a time after it has expired", "not_yet_valid", of(nbf=now + 7200))
