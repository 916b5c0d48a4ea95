"""Has each client mirror each corpus, and records what that took.

    python3 measure.py [--rounds 3] [--corpora big,many,multi] [--clients skopeo-sync,tranship]

A round of a client: the target is emptied and the client's memory removed ("cold"), the same
command again ("noop"), and once more without its memory ("noop-nostate"), for those that have
one. Clients take turns, so that what changes on the machine strikes all. After each run the
target is compared with what was pushed, digest by digest. Every run is a line of
`BENCH_DATA`/results.jsonl.
"""

import argparse
import collections
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

import registries
from clients import CLIENTS, WORK, installed

ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
# No client needs longer; one that hangs must not hold the others up.
TIMEOUT = 600


def busy_seconds():
    """CPU seconds that the machine has spent, by anybody."""
    with open("/proc/stat") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / registries.TICKS


def run(script):
    """Runs a script and tells what it cost, and whom."""
    home = WORK / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    times, file = WORK / "times", WORK / "script"
    file.write_text(f"set -e\n{script}\n")
    marks = {name: registries.mark(name) for name in registries.NAMES}
    before = {name: registries.cpu_seconds(name) for name in registries.NAMES}
    busy, begin = busy_seconds(), time.perf_counter()
    # GNU time, because a child of this process would inherit its peak memory.
    ended = subprocess.run(
        ["time", "-v", "-o", times, "timeout", str(TIMEOUT), "bash", file],
        env=environment,
        cwd=WORK,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wall, busy = time.perf_counter() - begin, busy_seconds() - busy
    servers = {name: registries.cpu_seconds(name) - before[name] for name in registries.NAMES}
    lines = (line.strip().rsplit(": ", 1) for line in times.read_text().splitlines())
    told = dict(line for line in lines if len(line) == 2)
    cpu = float(told["User time (seconds)"]) + float(told["System time (seconds)"])
    measured = {
        "wall": wall,
        "cpu": cpu,
        "rss_mib": int(told["Maximum resident set size (kbytes)"]) / 1024,
        "exit": ended.returncode,
        "others": max(0.0, busy - cpu - sum(servers.values())) / wall,
    }
    if ended.returncode:
        measured["output"] = ended.stdout.decode("utf-8", "replace")[-600:]
    time.sleep(0.1)  # The access log is written after the answer.
    for name in registries.NAMES:
        counts, answered = registries.requests_since(name, marks[name])
        measured[name] = {
            "requests": sum(counts.values()),
            "kinds": dict(sorted(counts.items())),
            "bytes": answered,
            "cpu": servers[name],
        }
    return measured


class Target:
    def __init__(self):
        self.connection = http.client.HTTPConnection(registries.host("target"), timeout=60)

    def answer(self, method, repository, reference):
        path = f"/v2/{repository}/manifests/{reference}"
        self.connection.request(method, path, headers={"Accept": ACCEPT})
        answer = self.connection.getresponse()
        return answer, answer.read()

    def digest(self, repository, reference):
        answer, _ = self.answer("HEAD", repository, reference)
        return answer.headers["Docker-Content-Digest"] if answer.status == 200 else None

    def lists(self, repository, subject, referrer):
        answer, body = self.answer("GET", repository, subject.replace(":", "-"))
        listed = json.loads(body)["manifests"] if answer.status == 200 else []
        return any(entry["digest"] == referrer for entry in listed)


def arrived(inventory):
    """What of a corpus the target has: {what: "have/want"}."""
    target, have, want = Target(), collections.Counter(), collections.Counter()

    def count(what, is_there):
        want[what] += 1
        have[what] += bool(is_there)

    for repository, content in inventory.items():
        for tag, digest in content["tags"].items():
            count("tags", target.digest(repository, tag) == digest)
        for children in content.get("children", {}).values():
            for child in children:
                count("children", target.digest(repository, child) == child)
        for subject, referrer in content.get("referrers", {}).items():
            is_there = target.digest(repository, referrer) == referrer
            count("referrers", is_there and target.lists(repository, subject, referrer))
    return {what: f"{have[what]}/{want[what]}" for what in want}


def one_round(corpus, name, inventory, hosts, results):
    client = CLIENTS[name]

    def forget():
        if client.memory:
            shutil.rmtree(client.memory, ignore_errors=True)

    registries.empty("target")
    for phase in ("cold", "noop", "noop-nostate"):
        if phase == "noop-nostate" and not client.memory:
            continue
        if phase != "noop":
            forget()
        measured = run(client.script(*hosts, corpus))
        measured |= {"corpus": corpus, "client": name, "phase": phase}
        measured["arrived"] = arrived(inventory[corpus])
        results.write(json.dumps(measured) + "\n")
        results.flush()
        print(
            f"{corpus} {name} {phase}: {measured['wall']:.2f} s, CPU {measured['cpu']:.2f} s, "
            f"others {measured['others']:.2f} cores, {measured['arrived']}",
            measured.get("output", ""),
            file=sys.stderr,
            flush=True,
        )


def delayed(name, milliseconds):
    """A slow way to a registry: the proxy, and the host to speak to."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delay.py")
    port = registries.host(name).split(":")[1]
    command = [sys.executable, script, port, str(milliseconds)]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return proxy, f"127.0.0.1:{proxy.stdout.readline().strip()}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpora", default="big,many,multi")
    parser.add_argument("--clients", default=",".join(installed()))
    parser.add_argument("--delay", type=float, help="milliseconds added each way, on both sides")
    arguments = parser.parse_args()
    inventory = json.loads((registries.DATA / "inventory.json").read_text())
    WORK.mkdir(exist_ok=True)
    hosts, proxies = [registries.host(name) for name in registries.NAMES], []
    if arguments.delay:
        slow = [delayed(name, arguments.delay) for name in registries.NAMES]
        proxies, hosts = [proxy for proxy, _ in slow], [host for _, host in slow]
    try:
        with open(registries.DATA / "results.jsonl", "a") as results:
            for corpus in arguments.corpora.split(","):
                for _ in range(arguments.rounds):
                    for name in arguments.clients.split(","):
                        one_round(corpus, name, inventory, hosts, results)
    finally:
        for proxy in proxies:
            proxy.terminate()


if __name__ == "__main__":
    main()
