"""Pushes the same images on every run and machine, by the API alone.

    python3 corpus.py [--scale 1.0] [--only big,many,multi]

big    big/one:1.0.0     one image, 4 layers of 256 MiB that do not compress
many   many/repo00..19   25 tags each; an image has 3 layers of its own (64 KiB to 1 MiB) and
                         shares 4 of 5 MiB with all others; even repositories are OCI, odd ones
                         Docker schema 2
multi  multi/app         20 tags, each an index of 4 platforms with an attestation each, and an
                         SBOM whose subject is the index

Layers are real tar.gz files. What was pushed is noted in `BENCH_DATA`/inventory.json.
"""

import argparse
import concurrent.futures
import hashlib
import http.client
import json
import random
import struct
import threading
import zlib

import registries

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
SPDX = "application/spdx+json"
CREATED = "2026-01-01T00:00:00Z"
KIB, MIB = 1 << 10, 1 << 20

REPOSITORIES = {
    "big": ["big/one"],
    "many": [f"many/repo{number:02d}" for number in range(20)],
    "multi": ["multi/app"],
}
TAGS = {
    "big": ["1.0.0"],
    "many": [f"1.{number}.0" for number in range(25)],
    "multi": [f"2.{number}.0" for number in range(20)],
}
PLATFORMS = [("amd64", None), ("arm64", "v8"), ("arm", "v7"), ("s390x", None)]


class Registry:
    """Just enough of a client; one connection a thread."""

    def __init__(self, host):
        self.host = host
        self.local = threading.local()

    def call(self, method, path, body=None, headers=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.host, timeout=120)
        self.local.connection.request(method, path, body=body, headers=headers or {})
        answer = self.local.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201, 202):
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return answer

    def blob(self, repository, data, mount_from=None):
        digest = digest_of(data)
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        path = f"/v2/{repository}/blobs/uploads/{query}"
        opened = self.call("POST", path, headers={"Content-Length": "0"})
        if opened.status == 201:
            return
        location = opened.headers["Location"]
        if location.startswith("http"):
            location = "/" + location.split("/", 3)[3]
        location += ("&" if "?" in location else "?") + "digest=" + digest
        self.call("PUT", location, data, {"Content-Type": "application/octet-stream"})

    def manifest(self, repository, document, tag=None):
        """Gives the digest, a descriptor, and whether the registry lists referrers itself."""
        data = json.dumps(document, separators=(",", ":")).encode()
        digest = digest_of(data)
        path = f"/v2/{repository}/manifests/{tag or digest}"
        answer = self.call("PUT", path, data, {"Content-Type": document["mediaType"]})
        return (
            digest,
            descriptor(document["mediaType"], data),
            answer.headers.get("OCI-Subject") is not None,
        )


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(media_type, data, **more):
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def gzip_stored(data):
    """gzip without compression: it costs nothing to make."""
    out = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"]
    view, length = memoryview(data), len(data)
    for at in range(0, length, 65535):
        piece = view[at : at + 65535]
        size = len(piece)
        out += [struct.pack("<BHH", at + 65535 >= length, size, size ^ 0xFFFF), piece]
    out.append(struct.pack("<II", zlib.crc32(data), length & 0xFFFFFFFF))
    return b"".join(out)


def layer(name, size):
    """A tar.gz of one file of `size` random bytes, and its diff id."""
    source = random.Random(name)
    content = bytearray()
    while len(content) < size:
        content += source.randbytes(min(8 * MIB, size - len(content)))
    path = f"data/{hashlib.sha256(name.encode()).hexdigest()[:32]}.bin".encode()
    header = bytearray(512)
    header[0 : len(path)] = path
    header[100:108], header[108:116], header[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    header[124:136], header[136:148], header[148:156] = b"%011o\0" % size, b"0" * 11 + b"\0", b" " * 8
    header[156:157], header[257:265] = b"0", b"ustar\00000"
    header[148:156] = b"%06o\0 " % sum(header)
    tar = bytes(header) + bytes(content) + bytes(-size % 512) + bytes(1024)
    return gzip_stored(tar), digest_of(tar)


def config(diff_ids, architecture="amd64", variant=None, system="linux", label=""):
    document = {
        "created": CREATED,
        "architecture": architecture,
        "os": system,
        "config": {"Env": ["PATH=/usr/bin"], "Labels": {"bench": label}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": CREATED, "created_by": f"layer {at}"} for at in range(len(diff_ids))],
    }
    if variant:
        document["variant"] = variant
    return json.dumps(document, separators=(",", ":")).encode()


def image(family, config_blob, layers):
    return {
        "schemaVersion": 2,
        "mediaType": family["manifest"],
        "config": descriptor(family["config"], config_blob),
        "layers": [descriptor(family["layer"], data) for data in layers],
    }


def push_big(registry, pool, scale):
    size = int(256 * MIB * scale)
    layers, diff_ids = zip(*pool.map(lambda at: layer(f"big/{at}", size), range(4)), strict=True)
    config_blob = config(list(diff_ids), label="big")
    list(pool.map(lambda data: registry.blob("big/one", data), [*layers, config_blob]))
    digest, _, _ = registry.manifest("big/one", image(OCI, config_blob, layers), "1.0.0")
    return {"big/one": {"tags": {"1.0.0": digest}}}


def push_many(registry, pool, scale):
    shared = list(pool.map(lambda at: layer(f"shared/{at}", 5 * MIB), range(4)))
    inventory = {}

    def one(repository, tag, family):
        sizes = random.Random(f"size/{repository}/{tag}")
        own = [
            layer(f"{repository}/{tag}/{at}", int(sizes.randint(64 * KIB, MIB) * scale))
            for at in range(3)
        ]
        config_blob = config([diff for _, diff in shared + own], label=f"{repository}/{tag}")
        for data in [data for data, _ in own] + [config_blob]:
            registry.blob(repository, data)
        document = image(family, config_blob, [data for data, _ in shared + own])
        return tag, registry.manifest(repository, document, tag)[0]

    first = REPOSITORIES["many"][0]
    for number, repository in enumerate(REPOSITORIES["many"]):
        origin = first if number else None
        for data, _ in shared:
            registry.blob(repository, data, origin)
        family = DOCKER if number % 2 else OCI
        pushed = pool.map(lambda tag: one(repository, tag, family), TAGS["many"])  # noqa: B023
        inventory[repository] = {"tags": dict(pushed)}
    return inventory


def push_multi(registry, pool, scale):
    repository = "multi/app"
    bases = [layer(f"multi/base/{architecture}", 2 * MIB) for architecture, _ in PLATFORMS]
    for data, _ in bases:
        registry.blob(repository, data)
    registry.blob(repository, b"{}")

    def platform(tag, architecture, variant, base):
        sizes = random.Random(f"multi/{tag}/{architecture}")
        own = [
            layer(f"multi/{tag}/{architecture}/{at}", int(sizes.randint(64 * KIB, 256 * KIB) * scale))
            for at in range(2)
        ]
        config_blob = config(
            [diff for _, diff in [base, *own]], architecture, variant, label=f"multi/{tag}"
        )
        for data in [data for data, _ in own] + [config_blob]:
            registry.blob(repository, data)
        document = image(OCI, config_blob, [data for data, _ in [base, *own]])
        digest, entry, _ = registry.manifest(repository, document)
        entry["platform"] = {"architecture": architecture, "os": "linux"}
        if variant:
            entry["platform"]["variant"] = variant
        return digest, entry

    def attestation(tag, subject):
        predicate = "https://slsa.dev/provenance/v0.2"
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v0.1",
                "subject": [{"name": repository, "digest": {"sha256": subject[7:]}}],
                "predicateType": predicate,
                "predicate": {"x": random.Random(subject + tag).randbytes(4096).hex()},
            }
        ).encode()
        config_blob = config([digest_of(statement)], "unknown", system="unknown")
        for data in (statement, config_blob):
            registry.blob(repository, data)
        noted = {"in-toto.io/predicate-type": predicate}
        document = image(OCI, config_blob, [])
        document["layers"] = [descriptor(IN_TOTO, statement, annotations=noted)]
        digest, entry, _ = registry.manifest(repository, document)
        entry["annotations"] = {
            "vnd.docker.reference.digest": subject,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        entry["platform"] = {"architecture": "unknown", "os": "unknown"}
        return digest, entry

    def sbom(tag, subject):
        """Refers to the index; listed under the fallback tag where there is no API for that."""
        text = json.dumps(
            {"spdxVersion": "SPDX-2.3", "name": tag, "x": random.Random(tag).randbytes(20000).hex()}
        ).encode()
        registry.blob(repository, text)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI["manifest"],
            "artifactType": SPDX,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor(SPDX, text)],
            "subject": subject,
            "annotations": {"org.opencontainers.image.created": CREATED},
        }
        digest, entry, listed = registry.manifest(repository, document)
        if not listed:
            entry |= {"artifactType": SPDX, "annotations": document["annotations"]}
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
            registry.manifest(repository, index, subject["digest"].replace(":", "-"))
        return digest

    def one(tag):
        images = [
            platform(tag, architecture, variant, base)
            for (architecture, variant), base in zip(PLATFORMS, bases, strict=True)
        ]
        children = images + [attestation(tag, digest) for digest, _ in images]
        entries = [entry for _, entry in children]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        digest, subject, _ = registry.manifest(repository, index, tag)
        return tag, digest, sbom(tag, subject), [digest for digest, _ in children]

    pushed = list(pool.map(one, TAGS["multi"]))
    return {
        repository: {
            "tags": {tag: digest for tag, digest, _, _ in pushed},
            "referrers": {digest: referrer for _, digest, referrer, _ in pushed},
            "children": {digest: children for _, digest, _, children in pushed},
        }
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="big,many,multi")
    parser.add_argument("--scale", type=float, default=1.0, help="of the layers' sizes")
    arguments = parser.parse_args()
    registry, inventory = Registry(registries.host("source")), {}
    pushers = {"big": push_big, "many": push_many, "multi": push_multi}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name in arguments.only.split(","):
            inventory[name] = pushers[name](registry, pool, arguments.scale)
    (registries.DATA / "inventory.json").write_text(json.dumps(inventory, indent=1))


if __name__ == "__main__":
    main()
