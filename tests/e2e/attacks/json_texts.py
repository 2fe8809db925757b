"""Texts that two JSON readers might read differently."""

import json


def make(world):
    w = world
    _duplicates(w)
    _texts(w)
    _numbers(w)
    _depth(w)


def _duplicates(w):
    for id, header in {
        "alg": '{"alg":"none","alg":"RS256","kid":"rsa-1"}',
        "alg-after": '{"alg":"RS256","kid":"rsa-1","alg":"none"}',
        "alg-same": '{"alg":"RS256","kid":"rsa-1","alg":"RS256"}',
        "kid": '{"alg":"RS256","kid":"mallory","kid":"rsa-1"}',
        "alg-escaped": '{"alg":"RS256","\\u0061lg":"none","kid":"rsa-1"}',
        "alg-escaped-first": '{"\\u0061\\u006c\\u0067":"none","alg":"RS256","kid":"rsa-1"}',
        "kid-escaped": '{"alg":"RS256","kid":"rsa-1","ki\\u0064":"mallory"}',
        "unknown": '{"alg":"RS256","kid":"rsa-1","x":1,"x":2}',
        "unknown-escaped": '{"alg":"RS256","kid":"rsa-1","x":1,"\\u0078":1}',
        "typ": '{"alg":"RS256","kid":"rsa-1","typ":"JWT","typ":"JWT"}',
        "nested": '{"alg":"RS256","kid":"rsa-1","x":{"y":1,"y":2}}',
        "nested-escaped": '{"alg":"RS256","kid":"rsa-1","x":[{"y":1,"\\u0079":2}]}',
        "empty-name": '{"alg":"RS256","kid":"rsa-1","":1,"":2}',
    }.items():
        w.add(f"twice-header-{id}", f"header {header[:60]}", "malformed_token", w.token(header=header))
    good = w.payload()[:-1]
    for id, more in {
        "iss": '"iss":"https://evil.test"', "sub": '"sub":"root"', "aud": '"aud":"api://agents"', "exp": '"exp":9999999999',
        "sub-same": '"sub":"mallory"', "sub-escaped": '"s\\u0075b":"root"', "exp-escaped": '"\\u0065xp":9999999999',
        "slash": '"a/b":1,"a\\/b":2', "nested": '"x":{"groups":["a"],"groups":["b"]}',
        "deep": '"x":[[[[{"y":{"z":1,"\\u007a":2}}]]]]', "surrogates": '"\\ud83d\\ude00":1,"\U0001f600":2',
    }.items():
        w.add(f"twice-claims-{id}", f"claims with a further {more[:40]}", "malformed_token", w.token(payload=f"{good},{more}}}"))
    w.control("case", "names that differ in case are different", w.token(payload=f'{good},"SUB":"root","Exp":1}}'))
    w.control("escaped-once", "an escaped name that stands once", w.token(header='{"\\u0061lg":"RS256","kid":"rsa-1"}'))


def _texts(w):
    good = w.payload()
    texts = {
        "bom": b"\xef\xbb\xbf" + good.encode(), "utf-16": good.encode("utf-16-le"), "latin-1": good[:-1].encode() + b',"x":"\xe9"}',
        "overlong": good[:-1].encode() + b',"x":"\xc0\xaf"}', "surrogate-octets": good[:-1].encode() + b',"x":"\xed\xa0\x80"}',
        "trailing": good + "x", "two": good + good, "trailing-nul": good + "\0", "comma": good[:-1] + ",}", "comment": good[:-1] + "/**/}",
        "single-quotes": good.replace('"', "'"), "unquoted": good.replace('"sub"', "sub"), "open": good[:-1], "nan": good[:-1] + ',"x":NaN}',
        "infinity": good[:-1] + ',"x":-Infinity}', "lone-surrogate": good[:-1] + ',"x":"\\ud800"}',
        "lone-surrogate-name": good[:-1] + ',"\\udc00":1}', "bad-escape": good[:-1] + ',"x":"\\x41"}',
        "control": good[:-1] + ',"x":"\x01"}', "newline-inside": good[:-1] + ',"x":"\n"}', "python": good[:-1] + ',"x":True}',
        "vertical-tab": "\x0b" + good, "empty-text": " ",
    }
    for id, text in texts.items():
        w.add(f"claims-{id}", f"claims: {id.replace('-', ' ')}", "malformed_token", w.token(payload=text))
    head = json.dumps(w.header())
    for id, text in {
        "bom": "\ufeff" + head, "utf-16": head.encode("utf-16-le"), "invalid-utf-8": head[:-1].encode() + b',"x":"\xff"}',
        "trailing": head + "{}", "array": f"[{head}]", "text": json.dumps(head), "null": "null", "number": "1", "empty": "{}",
        "lone-surrogate": head[:-1] + ',"x":"\\ud800"}', "comment": "//\n" + head, "open": head[:-1], "spaces": "   ",
    }.items():
        w.add(f"header-{id}", f"header: {id.replace('-', ' ')}", "malformed_token", w.token(header=text))
    for id, text in {"array": f"[{good}]", "text": json.dumps(good), "null": "null", "number": "1", "true": "true"}.items():
        w.add(f"claims-{id}", f"claims that are no object: {id}", "malformed_claims", w.token(payload=text))
    w.add("claims-empty", "claims without any", "not_for_me", w.token(payload="{}"))
    w.control("white-space", "white space where JSON has it", w.token(payload=f" \t\r\n{good} \n"))


def _numbers(w):
    good = w.payload()[:-1]
    for id, text in {
        "1e400": "1e400", "-1e400": "-1e400", "5000-digits": "9" * 5000, "leading-zero": "01", "plus": "+1", "hex": "0x10", "dot": ".5",
        "dot-behind": "1.", "underscore": "1_000", "e": "1e", "minus": "-", "double-minus": "--1",
    }.items():
        w.add(f"number-{id}", f"an unknown claim of {text[:12]}", "malformed_token", w.token(payload=f'{good},"x":{text}}}'))
    w.control("number-300-digits", "an unknown claim of 300 digits", w.token(payload=f'{good},"x":{"9" * 300}}}'))
    w.control("number-tiny", "an unknown claim of 1e-400", w.token(payload=f'{good},"x":1e-400}}'))
    w.control("number-long-fraction", "an unknown claim with 5000 decimals", w.token(payload=f'{good},"x":0.{"1" * 5000}}}'))


def _depth(w):
    good = w.payload()[:-1]
    # The document itself is the first level of 32.
    w.control("depth-32", "32 levels", w.token(payload=f'{good},"x":{"[" * 31}{"]" * 31}}}'))
    for n in (32, 127, 128, 5000):
        w.add(f"depth-{n + 1}", f"{n + 1} levels of arrays", "malformed_token", w.token(payload=f'{good},"x":{"[" * n}{"]" * n}}}'))
    w.add("depth-objects", "2000 levels of objects", "malformed_token",
          w.token(payload=good + ',"x":' + '{"a":' * 2000 + "1" + "}" * 2001))
    w.add("depth-open", "20,000 brackets that nobody closes", "malformed_token", w.token(payload="[" * 20_000))
    w.add("depth-header", "a header of 1000 levels", "malformed_token",
          w.token(header=f'{{"alg":"RS256","kid":"rsa-1","x":{"[" * 1000}{"]" * 1000}}}'))
    wide = ",".join(f'"{i}":0' for i in range(2000))
    w.control("wide", "2000 claims", w.token(payload=f"{good},{wide}}}"))
