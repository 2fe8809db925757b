"""A wall clock that is wrong by as much as a test says, for one process (`native/shifted_clock.c`)."""

import struct
import subprocess

from .paths import ROOT, require

SOURCE = ROOT / "tests/e2e/native/shifted_clock.c"


class Clock:
    """`env` is for the process; `shift` may be called while it runs."""

    def __init__(self, folder):
        require(SOURCE)
        library = folder / "shifted_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, SOURCE], check=True)
        self._file = folder / "shifted_clock.ms"
        self.shift(0)
        self.env = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK_FILE": str(self._file)}

    def shift(self, seconds):
        """The process's wall clock is this much ahead of ours from now on; behind, if negative."""
        # In place: the process has the file mapped.
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("<q", round(seconds * 1000)))
