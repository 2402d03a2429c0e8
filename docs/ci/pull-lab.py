#!/usr/bin/env python3
"""Run s2lab for the jobs of a KernelCI pull lab.

An example of a poller. It asks an API for job events, takes those of one runtime, and runs s2lab on
the kernel that the job's definition names. It prints one KCIDB document a job, each in a line. It
submits nothing and writes nothing to the API.

A job is taken only if its definition has the SHA-256 of each file: s2lab refuses any other file.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# The most bytes of an answer, and the seconds that a server may be silent.
MOST_BYTES = 64 << 20
SILENCE = 60
# The seconds of a job that names no time, and those that s2lab gets to end its hosts.
TIME = 7200
GRACE = 60
# Before all events.
BEGIN = "1970-01-01T00:00:00.000000"


class Refused(Exception):
    """A job that cannot be run here, with the reason."""


def log(text):
    print(text, file=sys.stderr, flush=True)


def is_web(url):
    """A job comes from outside: it must not name a file of this machine."""
    return isinstance(url, str) and url.startswith(("http://", "https://"))


def fetch(url):
    """Return the JSON at an address."""
    with urllib.request.urlopen(url, timeout=SILENCE) as answer:
        text = answer.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"{url}: more than {MOST_BYTES} bytes")
    return json.loads(text)


def events(api, since):
    query = {"state": "available", "kind": "job", "recursive": "true", "limit": 1000, "from": since}
    return fetch(f"{api.rstrip('/')}/events?{urllib.parse.urlencode(query)}")


def pinned(definition, name):
    """Return URL#sha256=DIGEST of an artifact, or None if the job does not have it."""
    url = definition.get("artifacts", {}).get(name)
    if url is None:
        return None
    digest = definition.get("integrity", {}).get("sha256", {}).get(name)
    if not is_web(url):
        raise Refused(f"the address of {name} is not http or https")
    if not isinstance(digest, str):
        raise Refused(f"it has no SHA-256 of {name}")
    return f"{url}#sha256={digest}"


def seconds(definition):
    """Return the time of a job: that of all its tests."""
    times = [test.get("timeout_s") for test in definition.get("tests", [])]
    times = [one for one in times if isinstance(one, (int, float)) and one > 0]
    return sum(times) or TIME


def command(definition, arguments):
    architecture = definition.get("environment", {}).get("arch")
    if architecture not in ("arm64", "aarch64"):
        raise Refused(f"its architecture is {architecture!r}, not arm64")
    kernel = pinned(definition, "kernel")
    if kernel is None:
        raise Refused("it has no kernel")
    modules = pinned(definition, "modules")
    words = [arguments.s2lab, "run", *arguments.cells, "--format=kcidb", f"--kernel={kernel}"]
    return words + ([f"--modules={modules}"] if modules else [])


def run(definition, arguments):
    """Run a job, and return its KCIDB document."""
    words = command(definition, arguments)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as s2lab:
        try:
            text, _ = s2lab.communicate(timeout=seconds(definition))
        except subprocess.TimeoutExpired:
            # s2lab ends its hosts, and still prints what it knows.
            s2lab.terminate()
            try:
                text, _ = s2lab.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                s2lab.kill()
                text, _ = s2lab.communicate()
    try:
        return json.loads(text)
    except ValueError:
        raise Refused(f"s2lab exited with {s2lab.returncode} and printed no document") from None


def take(event, arguments):
    """Run the job of an event if it is for this lab. Return False if it could not be run."""
    node = event.get("node") or {}
    address = (node.get("artifacts") or {}).get("job_definition")
    if (node.get("data") or {}).get("runtime") != arguments.runtime or not is_web(address):
        return True
    name = node.get("id")
    try:
        document = run(fetch(address), arguments)
    except (Refused, OSError, ValueError, AttributeError) as why:
        log(f"job {name}: not run: {why}")
        return False
    print(json.dumps(document), flush=True)
    log(f"job {name}: done")
    return True


def read_state(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip() or BEGIN
    except FileNotFoundError:
        return BEGIN


def write_state(path, since):
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(f"{since}\n")
    os.replace(f"{path}.new", path)


def poll(arguments):
    """Take all new events. Return False if one could not be taken."""
    fine = True
    for event in events(arguments.api, read_state(arguments.state)):
        # A job that ends this program is not taken again.
        write_state(arguments.state, event["timestamp"])
        fine = take(event, arguments) and fine
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--api", required=True, help="the API, such as https://HOST/latest")
    parser.add_argument("--runtime", required=True, help="the lab's name in the jobs")
    parser.add_argument("--state", default="pull-lab.state", help="the file with the time of the last event")
    parser.add_argument("--s2lab", default="s2lab", help="the program")
    parser.add_argument("--every", type=float, default=45, help="seconds between two questions")
    parser.add_argument("--once", action="store_true", help="ask once; exit with 1 if a job could not be run")
    parser.add_argument("cells", nargs="*", help="what to run on each kernel, like for s2lab run")
    arguments = parser.parse_args()
    if not is_web(arguments.api):
        parser.error("--api: not http or https")
    while True:
        try:
            fine = poll(arguments)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as why:
            log(f"cannot ask {arguments.api}: {why}")
            fine = False
        if arguments.once:
            return 0 if fine else 1
        time.sleep(arguments.every)


if __name__ == "__main__":
    sys.exit(main())
