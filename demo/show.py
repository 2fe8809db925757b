"""How the demo talks: one step at a time, readable in a terminal and in a CI log."""

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass

# The fields that say something about authentication; date, server and the like are left out of what is printed.
TELLING = ("www-authenticate", "retry-after", "content-type", "x-request-id")


class Unexpected(Exception):
    """A step did not go as the demo says it does."""


def _painter(code):
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def paint(text):
        return f"\x1b[{code}m{text}\x1b[0m" if coloured else text

    return paint


bold, dim, green, red = (_painter(c) for c in ("1", "2", "32", "31"))


def say(text="", indent=0):
    print(textwrap.indent(text, " " * indent), flush=True)


@dataclass
class Answer:
    """What curl printed for one request."""

    status: int
    headers: dict
    body: str


class Shell:
    """Runs the very lines it prints, with bash; `variables` stand in the lines as $NAME and are never printed."""

    def __init__(self, cwd):
        self.cwd = cwd
        self.variables = {}

    def run(self, line):
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.cwd, env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Unexpected(f"`{line}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def print_line(self, line):
        say(bold("$ " + line), 3)

    def let(self, name, line):
        """`NAME=$(line)`, printed and run."""
        self.print_line(f"{name}=$({line})")
        value = self.run(line).strip()
        if not value:
            raise Unexpected(f"`{line}` printed nothing")
        self.variables[name] = value
        return value

    def curl(self, line, quiet=False):
        """A `curl -i` line, printed and run; its answer, printed too unless `quiet`."""
        if not quiet:
            self.print_line(line)
        head, _, body = self.run(line).replace("\r\n", "\n").partition("\n\n")
        status_line, *fields = head.split("\n")
        pairs = [f.partition(": ")[::2] for f in fields]
        if not quiet:
            say(status_line.strip(), 3)
            for name, value in pairs:
                if name.lower() in TELLING:
                    say(f"{name}: {value}", 3)
            say()
            say(body.strip(), 3)
        return Answer(int(status_line.split()[1]), {n.lower(): v for n, v in pairs}, body)


class Steps:
    """Numbered steps, each of which checks what it claims."""

    def __init__(self):
        self.number = 0
        self.failed = 0

    def begin(self, title):
        self.number += 1
        say()
        say(bold(f"{self.number}. {title}"))
        say()

    def check(self, claim, holds):
        """Prints the claim with its outcome, and remembers a failure."""
        if holds:
            say(green("ok   ") + claim, 3)
        else:
            self.failed += 1
            say(red("FAIL ") + claim, 3)
