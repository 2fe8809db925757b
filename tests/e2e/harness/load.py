"""A steady load: h2load (nghttp2) sends at a rate that it is told, whatever the answers."""

import re
import subprocess
from dataclasses import dataclass

from .process import Process

_H2LOAD = "h2load"


@dataclass
class Report:
    """What a load came to. `rate` is what was really sent, per second."""

    total: int
    done: int
    failed: int
    by_class: dict
    rate: float
    took: str


class Load(Process):
    """`requests` GETs of `target` on 127.0.0.1:`port` over `clients` connections, `rate` a second all together (None: flat out)."""

    def __init__(self, port, log, *, requests, clients=20, rate=None, target="/", headers=(), http1=True):
        pace = ["--rps", max(1, round(rate / clients))] if rate else []
        fields = [part for name, value in headers for part in ("-H", f"{name}: {value}")]
        super().__init__(
            [_H2LOAD, *(["--h1"] if http1 else []), "-t", 1, "-c", clients, "-n", requests, *pace, *fields,
             f"http://127.0.0.1:{port}{target}"], log)

    def report(self, deadline=120):
        """Waits for its end."""
        try:
            code = self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"h2load is not done after {deadline} s:\n{self.log()[-2000:]}") from None
        text = self.log()
        assert code == 0, text
        head = re.search(r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text, re.M)
        codes = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text, re.M)
        rate = re.search(r"^finished in (\S+), ([\d.]+) req/s", text, re.M)
        assert head and codes and rate, text
        return Report(
            total=int(head[1]), done=int(head[3]), failed=int(head[5]) + int(head[6]) + int(head[7]),
            by_class=dict(zip(("2xx", "3xx", "4xx", "5xx"), map(int, codes.groups()))), rate=float(rate[2]), took=rate[1])
