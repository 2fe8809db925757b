"""A trap is seen: the check that every test ends with finds the modules that were made to fail it."""

import pytest

from harness import http1
from harness.bootstrap import Bootstrap
from harness.envoy import Envoy
from harness.toy_wasm import module
from harness.upstream import EchoUpstream
from harness.wait import eventually


@pytest.fixture
def run(tmp_path, pile):
    def run(traps, policy):
        wasm = tmp_path / "toy.wasm"
        wasm.write_bytes(module(traps))
        upstream = pile.add(EchoUpstream())
        bootstrap = Bootstrap()
        bootstrap.listen()
        bootstrap.point("agents", upstream.port)
        bootstrap.drop_tls("issuer")
        bootstrap.wasm["failure_policy"] = policy
        bootstrap.wasm["vm_config"].pop("environment_variables")
        envoy = Envoy(bootstrap, tmp_path, wasm=wasm)
        pile.add(_Ended(envoy))
        return envoy, upstream

    return run


class _Ended:
    def __init__(self, envoy):
        self.envoy = envoy

    def close(self):
        self.envoy.stop()


def test_a_module_that_does_nothing_has_no_failures(run):
    envoy, upstream = run((), "FAIL_CLOSED")
    for _ in range(3):
        assert http1.request(envoy.port, target="/rest/orders").status == 200
    assert envoy.vm_failures() == {}
    assert len(upstream.seen) == 3


@pytest.mark.parametrize("where", ["proxy_on_request_headers", "proxy_on_context_create"])
def test_a_trap_is_seen_and_lets_nobody_in(run, where):
    envoy, upstream = run((where,), "FAIL_CLOSED")
    assert [http1.request(envoy.port, target="/rest/orders").status for _ in range(3)] == [503] * 3
    failures = eventually(envoy.vm_failures, "the trap to be seen")
    # No counter moves under this policy, which is why the log is read as well.
    assert set(failures) == {"log"}, failures
    assert f"Function: {where} failed" in failures["log"][0]
    assert upstream.seen == []


def test_a_trap_is_counted_where_the_vm_would_be_reloaded(run):
    envoy, upstream = run(("proxy_on_request_headers",), "FAIL_RELOAD")
    assert [http1.request(envoy.port, target="/rest/orders").status for _ in range(3)] == [503] * 3
    failures = eventually(envoy.vm_failures, "the trap to be seen")
    assert any(name.startswith("wasm.portcullis.vm_reload") for name in failures), failures
    assert upstream.seen == []
