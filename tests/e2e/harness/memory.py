"""What the resident memory of an Envoy is made of."""

import json
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path

# V8 reserves at least what a module with 32-bit addresses could ever use, and makes the part in use readable.
_RESERVED = 4 << 30


@dataclass(frozen=True)
class Memory:
    """Kibibytes at one moment. `resident` is all of it, as the kernel counts it.

    `files`: pages of the program and its libraries, read in as code is run for the first time.
    `modules`: linear memory of all VMs of filters, one of each worker and the one they are cloned from. It never shrinks.
    `allocated`: what Envoy and V8 have allocated and not freed, as their allocator (tcmalloc) counts it.
    `free`: what the allocator keeps for later, in its caches and page heap.
    """

    resident: int
    files: int
    modules: int
    allocated: int
    free: int

    @classmethod
    def of(cls, pid, admin):
        """Of the Envoy with that process id and admin address (`host:port`)."""
        status = Path(f"/proc/{pid}/status").read_text()
        with urllib.request.urlopen(f"http://{admin}/memory", timeout=10) as answer:
            heap = {name: int(octets) // 1024 for name, octets in json.load(answer).items()}
        maps = Path(f"/proc/{pid}/maps").read_text()
        return cls(
            resident=_kib(status, "VmRSS"), files=_kib(status, "RssFile") + _kib(status, "RssShmem"),
            modules=sum(linear_memories(maps)) // 1024, allocated=heap["allocated"],
            free=heap["total_physical_bytes"] - heap["allocated"])

    @property
    def other(self):
        """The rest: V8's heap and machine code, stacks, memory mapped by Envoy itself, and less what is in use but was never touched."""
        return self.resident - self.files - self.modules - self.allocated - self.free

    @property
    def in_use(self):
        """What a leak would be in: all but the program's own pages and what the allocator keeps for later."""
        return self.resident - self.files - self.free


def _kib(status, name):
    return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1])


def linear_memories(maps):
    """The size of each WebAssembly memory in a `/proc/PID/maps`, in bytes: what is readable at the start of a reservation."""
    found, last = [], (0, 0, "")
    for line in maps.splitlines():
        addresses, access = line.split()[:2]
        begin, end = (int(a, 16) for a in addresses.split("-"))
        if access == "---p" and last[2] == "rw-p" and last[1] == begin and end - last[0] >= _RESERVED:
            found.append(last[1] - last[0])
        last = begin, end, access
    return found
