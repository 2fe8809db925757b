"""`envoy/api-keys` as users copy it, in a folder of its own, and the program that makes the keys."""

import json
import os
import subprocess
from pathlib import Path

import yaml

from .bootstrap import Bootstrap
from .paths import PROGRAM, ROOT, WASM, require

FOLDER = ROOT / "envoy/api-keys"


class Keys:
    """Runs `portcullis key`; every key it makes is remembered by id."""

    def __init__(self, folder, env=None):
        self.folder = Path(folder)
        self.file = self.folder / "keys.json"
        self.ecds = self.folder / "ecds.json"
        self.template = self.folder / "portcullis.yaml"
        self._env = {**os.environ, **(env or {})}

    def run(self, *args, check=True, text=None):
        require(PROGRAM)
        command = [PROGRAM, "key", args[0]]
        if args[0] != "hash":
            command += ["--file", self.file]
        command += args[1:]
        done = subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=60, check=False,
                              env=self._env, input=text or "")
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def json(self, *args):
        return json.loads(self.run(*args, "--json").stdout)

    def init(self):
        self.run("init", "--from", self.template, "--to", self.ecds)

    def create(self, *args):
        """(key, id)"""
        made = self.json("create", *args)
        return made["key"], made["record"]["id"]

    def rotate(self, key_id, *args):
        made = self.json("rotate", key_id, *args)
        return made["key"], made["record"]["id"]

    def records(self):
        return json.loads(self.file.read_text())["keys"]

    def put(self, *records):
        """Adds records by hand and publishes."""
        content = json.loads(self.file.read_text())
        content["keys"] += records
        self.file.write_text(json.dumps(content))
        self.run("publish")


class ApiKeysBootstrap(Bootstrap):
    """The bootstrap with the filter in a file of its own; `plugin` and `wasm` are that file's."""

    def __init__(self, folder, env=None):
        super().__init__(FOLDER / "envoy.yaml")
        self.template = yaml.safe_load((FOLDER / "portcullis.yaml").read_text())
        self.keys = Keys(folder, env)

    @property
    def wasm(self):
        (resource,) = self.template["resources"]
        return resource["typed_config"]["config"]

    def files(self, access_log, wasm=WASM):
        super().files(access_log, wasm)
        (entry,) = [f for f in self.hcm["http_filters"] if f["name"] == "portcullis"]
        path = entry["config_discovery"]["config_source"]["path_config_source"]
        assert path["path"] == "envoy/api-keys/ecds.json"
        path["path"] = str(self.keys.ecds)
        self.write_template()
        if self.keys.file.exists():
            self.keys.run("publish")
        else:
            self.keys.init()

    def write_template(self):
        self.keys.template.write_text(yaml.safe_dump(self.template, sort_keys=False))
