"""What `make package` left in dist/release: read by the tools of those who will use it."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from harness.paths import PROGRAM, ROOT, WASM, require

RELEASE = ROOT / "dist/release"
IMAGES = RELEASE / "portcullis-oci.tar"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def released():
    assert (RELEASE / "SHA256SUMS").is_file(), "dist/release/SHA256SUMS is missing; `make package` makes it"
    require(PROGRAM, WASM)


@pytest.fixture(scope="module")
def version():
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return said.split()[1]


def pulled(tag, where):
    """An image as skopeo copies it, which checks every digest; its manifest."""
    subprocess.run(["skopeo", "copy", "--insecure-policy", "-q", f"oci-archive:{IMAGES}:{tag}", f"dir:{where}"], timeout=60, check=True)
    return json.loads((where / "manifest.json").read_text())


def blob(where, descriptor):
    content = (where / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(content) == descriptor["size"]
    return content


def test_every_file_has_its_digest():
    lines = dict(reversed(line.split("  ")) for line in (RELEASE / "SHA256SUMS").read_text().splitlines())
    assert lines == {p.name: sha256(p) for p in RELEASE.iterdir() if p.name != "SHA256SUMS"}
    assert {"portcullis.wasm", "portcullis-oci.tar", "portcullis.cdx.json", "portcullis.wasm.cdx.json", "portcullis.schema.json",
            "portcullis.meta.json"} < set(lines)
    assert lines["portcullis.wasm"] == sha256(WASM)
    assert len([name for name in lines if name.startswith("portcullis-") and lines[name] == sha256(PROGRAM)]) == 1


def test_the_image_is_a_plugin_from_scratch(version, tmp_path):
    manifest = pulled(version, tmp_path)
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    with tarfile.open(fileobj=io.BytesIO(blob(tmp_path, layer)), mode="r:gz") as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.uid, entry.gid, entry.mode) == ("plugin.wasm", 0, 0, 0o644)
        assert archive.extractfile(entry).read() == WASM.read_bytes()
    config = json.loads(blob(tmp_path, manifest["config"]))
    unpacked = hashlib.sha256(gzip.decompress(blob(tmp_path, layer))).hexdigest()
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{unpacked}"]}
    assert manifest["annotations"]["org.opencontainers.image.version"] == version


def test_it_can_be_had_in_dockers_media_types(version, tmp_path):
    subprocess.run(["skopeo", "copy", "--insecure-policy", "-q", "--format", "v2s2", f"oci-archive:{IMAGES}:{version}", f"dir:{tmp_path}"],
                   timeout=60, check=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.docker.image.rootfs.diff.tar.gzip"]


def test_the_other_one_is_the_module_as_a_layer(version, tmp_path):
    manifest = pulled(f"{version}-wasm", tmp_path)
    kinds = {layer["mediaType"]: layer for layer in manifest["layers"]}
    # Istio's agent insists on two.
    assert set(kinds) == {"application/vnd.module.wasm.config.v1+json", "application/vnd.module.wasm.content.layer.v1+wasm"}
    assert blob(tmp_path, kinds["application/vnd.module.wasm.content.layer.v1+wasm"]) == WASM.read_bytes()


@pytest.mark.parametrize(("name", "built", "has", "has_not"), [
    ("portcullis.wasm.cdx.json", WASM, {"p256", "ed25519-dalek", "serde_json"}, {"tokio", "clap", "rsa", "wasmparser", "jwt-compact"}),
    ("portcullis.cdx.json", PROGRAM, {"clap", "p256", "tokio"}, {"wasmparser", "jwt-compact"}),
])
def test_the_bill_of_materials_is_one(name, built, has, has_not):
    text = (RELEASE / name).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    document = json.loads(text)
    names = {c["name"] for c in document["components"]}
    assert has < names
    assert not has_not & names
    assert document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": sha256(built)}]
    # What the lock says, and nothing that the lock does not know.
    locked = {(p["name"], p["version"]) for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    assert {(c["name"], c["version"]) for c in document["components"]} < locked
    third_party = [c for c in document["components"] if not c["name"].startswith("portcullis")]
    assert all(c["purl"].startswith("pkg:cargo/") and c["hashes"] for c in third_party)


def test_the_validator_of_bills_notices():
    document = json.loads((RELEASE / "portcullis.wasm.cdx.json").read_text())
    document["components"][0]["type"] = "a crate"
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document)) is not None


def test_the_schemas_are_those_of_the_program():
    assert json.loads((RELEASE / "portcullis.schema.json").read_text()) == json.loads((ROOT / "schema/portcullis.schema.json").read_text())
    assert list(json.loads((RELEASE / "portcullis.meta.json").read_text())) == ["config_schema"]


def test_no_file_names_the_folder_it_was_built_in():
    for path in RELEASE.iterdir():
        content = path.read_bytes()
        assert str(ROOT).encode() not in content, path.name
        assert os.path.expanduser("~/.cargo").encode() not in content, path.name


def test_images_are_made_the_same_twice(tmp_path):
    for n in ("1", "2"):
        (tmp_path / n).mkdir()
        subprocess.run([sys.executable, ROOT / "scripts/package.py", "image", WASM, tmp_path / n, "1.2.3", "f" * 40],
                       env={**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}, timeout=60, check=True)
    assert sha256(tmp_path / "1/portcullis-oci.tar") == sha256(tmp_path / "2/portcullis-oci.tar")


def test_another_folder_builds_the_same_module(tmp_path):
    """The sources elsewhere, by the same toolchain: a whole build, a minute or two on two idle cores."""
    other = tmp_path / "another" / "folder"
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (other / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, other / name)
    env = {k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}
    built = subprocess.run(["scripts/cargo-wasm", "wasm32-wasip1", "rustc", "--release", "-p", "portcullis-auth", "--lib", "--crate-type", "cdylib"],
                           cwd=other, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    (module,) = other.glob("target/**/wasm32-wasip1/release/portcullis_auth.wasm")
    # What `make build` linked, before wasm-opt, which is the same program on the same bytes.
    (ours,) = {sha256(p) for p in linked()}
    assert sha256(module) == ours


def linked():
    """The module that dist/portcullis.wasm was made of."""
    from_digest = (ROOT / "dist/.portcullis.from").read_text().strip()
    beside = [(ROOT / name).read_bytes() for name in ("scripts/build", "scripts/wasm-opt/package-lock.json")]
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    candidates = [target / "wasm32-wasip1/release/portcullis_auth.wasm", target / "debian/wasm32-wasip1/release/portcullis_auth.wasm"]
    return [p for p in candidates if p.is_file() and hashlib.sha256(p.read_bytes() + b"".join(beside)).hexdigest() == from_digest]
