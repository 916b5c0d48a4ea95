"""The source and the target registry of the measurements: two docker-registry processes on loopback.

Both keep their files in one folder, `BENCH_DATA`, and tell of themselves there, so that the
scripts beside this one find them: `<name>.port`, `<name>.pid`, `<name>.access`.

    python3 registries.py start | stop
"""

import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

DATA = Path(os.environ["BENCH_DATA"])
PROGRAM = os.environ.get("REGISTRY_BIN", "docker-registry")
NAMES = ("source", "target")
TICKS = os.sysconf("SC_CLK_TCK")

CONFIG = """version: 0.1
log:
  level: error
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: {host}
  secret: bench
"""

# `"HEAD /v2/many/repo00/manifests/1.0.0 HTTP/1.1" 200 1234`
LOGGED = re.compile(r'"(\w+) (\S+) HTTP/[\d.]+" (\d+) (\d+|-)')


def file(name, what):
    return DATA / f"{name}.{what}"


def host(name):
    """127.0.0.1 and the port that was free when the registry was first started."""
    port = file(name, "port")
    if not port.exists():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port.write_text(str(free.getsockname()[1]))
    return f"127.0.0.1:{port.read_text()}"


def pid(name):
    """The registry's process, if it runs and is one."""
    try:
        number = int(file(name, "pid").read_text())
        running = os.path.basename(os.readlink(f"/proc/{number}/exe"))
    except (OSError, ValueError):
        return None
    return number if running == os.path.basename(os.path.realpath(shutil.which(PROGRAM))) else None


def start(name):
    file(name, "store").mkdir(parents=True, exist_ok=True)
    config = file(name, "yml")
    config.write_text(CONFIG.format(root=file(name, "store"), host=host(name)))
    with open(file(name, "access"), "ab") as out, open(file(name, "errors"), "ab") as errors:
        quiet = dict(os.environ, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none")
        process = subprocess.Popen(
            [PROGRAM, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env=quiet,
            start_new_session=True,
        )
    file(name, "pid").write_text(str(process.pid))
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://{host(name)}/v2/", timeout=1).read()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise SystemExit(f"the {name} registry did not start: see {file(name, 'errors')}")


def stop(name):
    number = pid(name)
    if number is None:
        return
    os.kill(number, signal.SIGTERM)
    for _ in range(100):
        try:
            os.waitpid(number, os.WNOHANG)
        except ChildProcessError:
            pass
        if pid(name) is None:
            break
        time.sleep(0.05)
    else:
        os.kill(number, signal.SIGKILL)
    file(name, "pid").unlink()


def empty(name):
    """Starts the registry anew, with nothing in it."""
    stop(name)
    shutil.rmtree(file(name, "store"), ignore_errors=True)
    start(name)


def cpu_seconds(name):
    with open(f"/proc/{pid(name)}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def mark(name):
    """A place in the access log."""
    return file(name, "access").stat().st_size


def requests_since(name, position):
    """How often each 'METHOD kind status' was logged, and the bytes of all answers."""
    counts, answered = collections.Counter(), 0
    with open(file(name, "access"), "rb") as log:
        log.seek(position)
        for line in log.read().decode("utf-8", "replace").splitlines():
            if found := LOGGED.search(line):
                counts[f"{found[1]} {kind(found[2])} {found[3]}"] += 1
                answered += int(found[4]) if found[4].isdigit() else 0
    return counts, answered


def kind(uri):
    path = uri.split("?")[0]
    if path in ("/v2", "/v2/"):
        return "ping"
    parts = {
        "/blobs/uploads/": "upload",
        "/blobs/": "blob",
        "/manifests/": "manifest",
        "/tags/list": "tags",
        "/referrers/": "referrers",
    }
    return next((kind for part, kind in parts.items() if part in path), "other")


if __name__ == "__main__":
    actions = {"start": start, "stop": stop}
    if sys.argv[1:] not in (["start"], ["stop"]):
        raise SystemExit(__doc__)
    for each in NAMES:
        actions[sys.argv[1]](each)
