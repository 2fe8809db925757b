"""Every hostile token, request and key set of the corpus, through real Envoy.

One Envoy takes them all: each hostile key set is an issuer of its own in one configuration. Whatever has come before, a
good token must still be let in at the end, and the filter's VM must be as it was.
"""

import pytest

from attacks import CLASSES, corpus
from attacks.page import markdown
from attacks.world import CODES, DOCUMENTS
from harness.http1 import encode
from harness.paths import ROOT
from harness.server import LoopbackServer, QuietHandler

# Envoy's own bound on a request's headers is 60 KiB; raised, so that the filter has to stand for itself.
HEADERS_KB = 8192


class _Handler(QuietHandler):
    def do_GET(self):
        body = self.server.owner.documents.get(self.path)
        self.answer(404 if body is None else 200, body or b"", [("Content-Type", "application/json")])


class KeyServer(LoopbackServer):
    """Serves the key documents of the corpus. One server for all of their issuers."""

    handler = _Handler
    authority, jwks_uri = DOCUMENTS, f"https://{DOCUMENTS}/"

    def __init__(self, documents):
        self.documents = documents
        super().__init__()


@pytest.fixture(scope="module")
def world():
    return corpus()


@pytest.fixture(scope="module")
def stack(shared, world):
    server = shared.add(KeyServer(world.documents))
    return shared.stack(world.plugin("issuer"), issuers=[server], hcm={"max_request_headers_kb": HEADERS_KB})


def send(stack, case):
    return stack.raw(encode(case.method, case.target, case.headers, case.body), case.method)


def judge(stack, case, response):
    if case.envoy is not None:
        assert response.status == case.envoy, response
        assert response.all("x-echo") == []
    elif case.code is None:
        stack.allowed(response)
    else:
        status, reason, challenge = CODES[case.code]
        # Whole, or a part of it that says something.
        shown = [v for n, v in case.headers if n.lower() == "authorization" and len(v) > 40]
        stack.denied(response, status, reason, case.code, challenge=challenge, credential=shown[0].split(" ")[-1] if shown else None)


@pytest.mark.parametrize("name", [m.__name__.rpartition(".")[2] for m in CLASSES])
def test_class(stack, world, name):
    (found,) = [c for c in world.classes if c.name == name]
    assert any(c.hostile for c in found.cases) and not all(c.hostile for c in found.cases), "nothing to tell apart"
    before = len(stack.upstream.seen)
    wrong = []
    for case, response in [(case, send(stack, case)) for case in found.cases]:
        try:
            judge(stack, case, response)
        except AssertionError as error:
            wrong.append(f"{name}/{case.id} ({case.what}): {str(error)[:400]}")
    assert not wrong, f"{len(wrong)} of {len(found.cases)}:\n" + "\n".join(wrong)
    let_in = sum(not c.hostile for c in found.cases)
    assert len(stack.upstream.seen) - before == let_in, "the upstream saw another number of requests than were let in"


def test_there_are_enough(world):
    ids = [f"{c.kind}/{c.id}" for c in world.cases]
    assert len(set(ids)) == len(ids)
    assert sum(c.hostile for c in world.cases) >= 700


def test_after_all_of_it_a_good_token_is_let_in(stack, world):
    stack.allowed(stack.request(token=world.token()), user_id="mallory")
    stack.denied(stack.request(token=world.token(world.mallory, kid="rsa-1")), 401, "invalid", "bad_signature")
    assert stack.envoy.vm_failures() == {}
    counted = stack.envoy.stats(r"portcullis\.requests\.")
    assert sum(counted.values()) >= len([c for c in world.cases if c.envoy is None]), "some requests were not counted"


def test_what_is_too_big_for_envoy_itself(shared, world):
    """With Envoy's own bound in force the same requests end there, and the filter never sees them."""
    server = shared.add(KeyServer(world.documents))
    stack = shared.stack(world.plugin("issuer"), issuers=[server])
    big = [c for c in world.cases if c.size > 61 * 1024]
    assert len(big) >= 3
    for case in big:
        response = send(stack, case)
        assert response.status == 431, (case.id, response)
    assert stack.upstream.seen == []
    stack.allowed(stack.request(token=world.token()))


def test_the_page_is_of_this_corpus(world):
    page = ROOT / "docs/attacks.md"
    assert page.read_text() == markdown(world), "`make attacks-page` writes it"
