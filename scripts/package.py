"""The parts of a release that are data: OCI image layouts and bills of materials, from `scripts/package`.

Everything that could differ between two runs is given: times are SOURCE_DATE_EPOCH, names are sorted, and no path of this machine is left.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path


def canonical(value):
    """JSON as blobs have it: one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def created():
    """The commit's time, RFC 3339."""
    return datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# OCI image layout: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md


def tar(files):
    """A tar of {name: bytes}: sorted, owned by root, dated by the commit."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, int(os.environ["SOURCE_DATE_EPOCH"])
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class Layout:
    """The blobs of a layout, by their path in it, and the manifests of its index."""

    def __init__(self):
        self.files, self.manifests = {}, []

    def blob(self, media_type, content, **more):
        """Keeps a blob and returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def manifest(self, tag, config, layers, annotations):
        """Adds an image manifest, to be found by its tag."""
        kind = "application/vnd.oci.image.manifest.v1+json"
        content = canonical({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers, "annotations": annotations})
        self.manifests.append(self.blob(kind, content, annotations={"org.opencontainers.image.ref.name": tag}))

    def all_files(self):
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": self.manifests}
        return {**self.files, "index.json": canonical(index), "oci-layout": canonical({"imageLayoutVersion": "1.0.0"})}


def image(wasm, out, version, revision):
    """Writes `portcullis-oci.tar`: one module under two tags, for whatever pulls it.

    `VERSION`: an ordinary image, `FROM scratch` with `/plugin.wasm`. `VERSION-wasm`: the module as a layer of its own kind.
    Istio's agent and Envoy Gateway read both (istio/istio, pkg/wasm/imagefetcher.go; https://github.com/solo-io/wasm/tree/master/spec).
    """
    module = Path(wasm).read_bytes()
    annotations = {
        "org.opencontainers.image.title": "portcullis",
        "org.opencontainers.image.description": "Authenticates every caller of AI agents, as a proxy-wasm filter.",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.created": created(),
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    layer = tar({"plugin.wasm": module})
    # No name and no time in the header; level 9 of one zlib gives the same bytes everywhere it is the same zlib.
    packed = gzip.compress(layer, compresslevel=9, mtime=0)
    config = canonical({
        "architecture": "wasm", "os": "wasip1", "created": created(), "config": {"Labels": annotations},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": created(), "created_by": "make package"}],
    })
    layout = Layout()
    described = layout.blob("application/vnd.oci.image.config.v1+json", config)
    layout.manifest(version, described, [layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
                    {**annotations, "module.wasm.image/variant": "compat"})
    # Two layers, as that specification has it and Istio's agent insists on.
    facts = canonical({"type": "envoy_proxy", "abiVersions": ["0.2.1"]})
    layout.manifest(
        f"{version}-wasm", described,
        [layout.blob("application/vnd.module.wasm.config.v1+json", facts, annotations={"org.opencontainers.image.title": "runtime-config.json"}),
         layout.blob("application/vnd.module.wasm.content.layer.v1+wasm", module, annotations={"org.opencontainers.image.title": "plugin.wasm"})],
        {**annotations, "module.wasm.image/variant": "oci"})
    (Path(out) / "portcullis-oci.tar").write_bytes(tar(layout.all_files()))


# Bill of materials


def manifests(root, out):
    """Copies what cargo needs to resolve the workspace: manifests, the lock, and empty sources for what the manifests name."""
    root, out = Path(root), Path(out)
    workspace = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]
    for member in workspace["members"]:
        manifest = root / member / "Cargo.toml"
        there = out / member
        there.mkdir(parents=True, exist_ok=True)
        (there / "Cargo.toml").write_bytes(manifest.read_bytes())
        for source in [*(root / member).glob("src/*.rs"), *(root / member).glob("src/bin/*.rs"), *(root / member).glob("*.rs")]:
            (there / source.relative_to(root / member)).parent.mkdir(parents=True, exist_ok=True)
            (there / source.relative_to(root / member)).touch()
        described = tomllib.loads(manifest.read_text())
        targets = [described.get("lib", {})]
        for kind in ("bin", "example", "test", "bench"):
            targets += described.get(kind, [])
        for target in targets:
            if "path" in target:
                (there / target["path"]).parent.mkdir(parents=True, exist_ok=True)
                (there / target["path"]).touch()
    (out / "Cargo.lock").write_bytes((root / "Cargo.lock").read_bytes())


def replaced(value, old, new):
    """`value` with `old` replaced in every string."""
    if isinstance(value, dict):
        return {replaced(k, old, new): replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [replaced(v, old, new) for v in value]
    return value.replace(old, new) if isinstance(value, str) else value


def sbom(bom, root, out, artefact):
    """cargo-cyclonedx's document without what differs between machines, and with the artefact's own digest."""
    document = json.loads(Path(bom).read_text())
    document = replaced(document, f"path+file://{Path(root).resolve()}", "path+file://")
    document = replaced(document, str(Path(root).resolve()), ".")
    document["metadata"]["timestamp"] = created()
    component = document["metadata"]["component"]
    component["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(Path(artefact).read_bytes()).hexdigest()}]
    document["components"] = sorted(document.get("components", []), key=lambda c: c["bom-ref"])
    document["dependencies"] = sorted(
        ({**d, "dependsOn": sorted(d["dependsOn"])} if "dependsOn" in d else d for d in document.get("dependencies", [])),
        key=lambda d: d["ref"])
    document.pop("serialNumber", None)
    # Random by custom; of the content here, so that the same content has the same one.
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(canonical(document)).hexdigest())}"
    Path(out).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    {"image": image, "manifests": manifests, "sbom": sbom}[sys.argv[1]](*sys.argv[2:])
