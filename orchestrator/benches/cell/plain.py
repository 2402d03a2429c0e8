#!/usr/bin/env python3
"""Runs the work of a cell without s2lab: the same QEMU, images and requests, and nothing else.

plain.py FOLDER VERSION: FOLDER has `argv`, the command line of the QEMU of a cell, its arguments ended
by NUL, `initramfs`, and `requests`, a list of those to the agents; VERSION is that of the protocol.
`cargo bench --bench cell` makes them. The script looks at no table and judges nothing. It exits with 0 if each request was answered well and the
host has powered off.
"""
import json
import os
import re
import socket
import subprocess
import sys
import zlib

VERSION = int(sys.argv[2])
HEADER = 12
LIMIT_S = 120  # for each wait


class Port:
    """The port of the host's agent."""

    def __init__(self, stream, nonce):
        self.stream, self.nonce, self.seq, self.id = stream, nonce, 0, 0

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.stream.recv(count - len(data))
            if not more:
                sys.exit("the agent closed the port")
            data += more
        return data

    def receive(self):
        header = self.exactly(HEADER)
        return json.loads(self.exactly(int.from_bytes(header[4:8], "little")))

    def until(self, wanted):
        while True:
            frame = self.receive()
            found = wanted(frame)
            if found is not None:
                return found

    def hello(self, sender):
        self.until(lambda frame: True if frame["from"] == sender and "hello" in frame["body"].get("notice", {}) else None)

    def ask(self, to, request):
        self.id += 1
        body = {"request": {"id": self.id, "request": request}}
        frame = {"version": VERSION, "nonce": self.nonce, "seq": self.seq, "from": "lab", "to": to, "body": body}
        self.seq += 1
        data = json.dumps(frame).encode()
        lengths = len(data).to_bytes(4, "little") + zlib.crc32(data).to_bytes(4, "little")
        self.stream.sendall(b"S2LF" + lengths + data)
        own = lambda frame: frame["body"]["reply"] if frame["body"].get("reply", {}).get("id") == self.id else None
        result = self.until(own)["result"]
        if "Ok" not in result:
            sys.exit(f"{request}: {result}")


def start(folder):
    """Starts QEMU. Returns the process, the port of the agent, and the QMP stream."""
    with open(f"{folder}/argv", "rb") as file:
        argv = [part.decode() for part in file.read().split(b"\0")[:-1]]
    streams, inherited = {}, []
    for place, argument in enumerate(argv):
        if match := re.fullmatch(r"socket,id=(\w+),fd=\d+", argument):
            ours, theirs = socket.socketpair()
            ours.settimeout(LIMIT_S)
            streams[match[1]] = ours
            inherited.append(theirs.detach())
            argv[place] = f"socket,id={match[1]},fd={inherited[-1]}"
        elif match := re.fullmatch(r"(memory-backend-file,.*mem-path=/proc/self/fd/)\d+(,.*size=(\d+))", argument):
            memory = os.memfd_create("memory")
            os.truncate(memory, int(match[3]))
            inherited.append(memory)
            argv[place] = f"{match[1]}{memory}{match[2]}"
        elif argv[place - 1] == "-initrd":
            argv[place] = f"{folder}/initramfs"
    # The plugin belongs to s2lab.
    if "-plugin" in argv:
        at = argv.index("-plugin")
        del argv[at : at + 2]
    nonce = int(re.search(r"s2lab\.nonce=([0-9a-f]+)", " ".join(argv))[1], 16)
    qemu = subprocess.Popen(argv, pass_fds=inherited, stdin=subprocess.DEVNULL)
    for descriptor in inherited:
        os.close(descriptor)
    return qemu, Port(streams["agent"], nonce), streams


def drain(stream):
    """Reads a console, which would fill its socket."""
    while stream.recv(65536):
        pass


def main():
    qemu, port, streams = start(sys.argv[1])
    try:
        reader = os.fork()
        if reader == 0:
            port.stream.close()
            try:
                drain(streams["console"])
            finally:
                os._exit(0)
        for command in ("qmp_capabilities", "cont"):
            streams["qmp"].sendall(json.dumps({"execute": command}).encode())
        port.hello("host")
        with open(f"{sys.argv[1]}/requests") as file:
            requests = json.load(file)
        for each in requests:
            port.ask(each["to"], each["request"])
            if "start-guest" in each["request"].get("host", {}):
                port.hello({"guest": "g0"})
        sys.exit(qemu.wait(LIMIT_S))
    finally:
        qemu.kill()


main()
