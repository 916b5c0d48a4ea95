"""The clients that are compared, and how each is told to mirror a corpus."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import registries
from corpus import REPOSITORIES, TAGS

WORK = registries.DATA / "work"
VERSION = "[0-9]+[.][0-9]+[.][0-9]+"


@dataclass(frozen=True)
class Client:
    program: str
    # Source and target host, and the corpus: gives the lines of a shell script.
    script: Callable[[str, str, str], str]
    # What it remembers from run to run, if anything.
    memory: Path | None = None


def written(name, text):
    file = WORK / name
    file.write_text(text)
    return file


def tranship(source, target, corpus):
    text = f'[daemon]\nstate = "{WORK}/tranship-state"\n'
    text += "".join(f'[registry."{host}"]\ninsecure = "http"\n' for host in (source, target))
    for repository in REPOSITORIES[corpus]:
        text += (
            f'[[sync]]\nname = "{repository.replace("/", "-")}"\n'
            f'source = "{source}/{repository}"\ntarget = "{target}/{repository}"\n'
            f'tags = {{ include = ["/{VERSION}/"] }}\n'
        )
    return f"tranship sync --quiet --config {written('tranship.toml', text)}"


def skopeo_sync(source, target, corpus):
    text = f"{source}:\n  tls-verify: false\n  images-by-tag-regex:\n"
    text += "".join(f"    {repository}: ^{VERSION}$\n" for repository in REPOSITORIES[corpus])
    return (
        "skopeo --insecure-policy sync --all --src yaml --dest docker --dest-tls-verify=false "
        f"{written('skopeo.yml', text)} {target}/{corpus}"
    )


def regsync(source, target, corpus):
    text = "version: 1\ncreds:\n"
    text += "".join(f"  - registry: {host}\n    tls: disabled\n" for host in (source, target))
    text += "defaults:\n  skipDockerConfig: true\n  parallel: 4\n  referrers: true\nsync:\n"
    for repository in REPOSITORIES[corpus]:
        text += (
            f"  - source: {source}/{repository}\n    target: {target}/{repository}\n"
            f"    type: repository\n    tags:\n      allow: ['{VERSION}']\n"
        )
    return f"regsync -v warn once -c {written('regsync.yml', text)}"


def crane(source, target, corpus):
    lines = [f"crane copy -a {source}/{name} {target}/{name}" for name in REPOSITORIES[corpus]]
    return "\n".join(lines)


def oras(source, target, corpus):
    return "\n".join(
        f"oras cp -r --no-tty --from-plain-http --to-plain-http "
        f"{source}/{repository}:{tag} {target}/{repository}:{tag}"
        for repository in REPOSITORIES[corpus]
        for tag in TAGS[corpus]
    )


def ocync(source, target, corpus):
    text = f"global:\n  cache_dir: {WORK}/ocync-cache\nregistries:\n"
    for name, host in (("source", source), ("target", target)):
        text += f"  {name}: {{url: 'http://{host}', auth_type: anonymous}}\n"
    text += "defaults:\n  source: source\n  targets: target\n  tags:\n    glob: '[0-9]*'\nmappings:\n"
    text += "".join(f"  - from: {name}\n    to: {name}\n" for name in REPOSITORIES[corpus])
    return f"ocync -q sync -c {written('ocync.yaml', text)}"


CLIENTS = {
    "skopeo-sync": Client("skopeo", skopeo_sync),
    "tranship": Client("tranship", tranship, WORK / "tranship-state"),
    "regsync-p4": Client("regsync", regsync),
    "crane-all": Client("crane", crane),
    "oras-r": Client("oras", oras),
    "ocync": Client("ocync", ocync, WORK / "ocync-cache"),
}


def installed():
    return [name for name, client in CLIENTS.items() if shutil.which(client.program)]
