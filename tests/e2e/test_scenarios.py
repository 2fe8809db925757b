"""The scenarios that are data, in real Envoy. `tests/host` plays the same files on the emulator, as Envoy and as nginx."""

import copy
import json
import time
from collections import Counter

import pytest

from harness.paths import ROOT
from harness.scenario import Peer, check, present, scenarios

ALL = scenarios()


def test_every_provider_has_its_scenarios():
    """By the schema of the configuration, which is made from the filter's own types."""
    schema = json.loads((ROOT / "schema/portcullis.schema.json").read_text())
    known = {variant["properties"]["type"]["const"] for variant in schema["$defs"]["Provider"]["oneOf"]}
    played = {provider["type"] for _, scenario in ALL for provider in scenario["config"]["auth"]["providers"]}
    assert len(known) >= 9
    assert known - played == set()


@pytest.mark.parametrize("scenario", [s for _, s in ALL], ids=[f"{name}: {s['about']}" for name, s in ALL])
def test_scenario(pile, scenario):
    peers = {authority: pile.add(Peer(authority, routes)) for authority, routes in scenario["peers"].items()}
    stack = pile.stack(
        copy.deepcopy(scenario["config"]), issuers=list(peers.values()), concurrency=scenario.get("workers", 1),
        env=scenario.get("env"), wasm_config={"allow_on_headers_stop_iteration": True}, edit=lambda bootstrap: see_env(bootstrap, scenario.get("env", {})))
    for step in scenario["steps"]:
        if step.get("only", "envoy") != "envoy":
            continue
        if "peer" in step:
            peers[step["peer"]].routes.update(step["is"])
        elif "wait" in step:
            time.sleep(step["wait"])
        else:
            expect = {**step["expect"], **step["expect"].get("on", {}).get("envoy", {})}
            statuses = Counter()
            for _ in range(step["request"].get("times", 1)):
                response, credential = present(stack, step["request"])
                statuses[str(response.status)] += 1
                check(stack, response, expect, credential)
            assert statuses == expect.get("statuses", statuses)


def see_env(bootstrap, env):
    bootstrap.wasm["vm_config"]["environment_variables"] = {"host_env_keys": sorted({"AGENT_SMOKE_TOKEN", *env})}
