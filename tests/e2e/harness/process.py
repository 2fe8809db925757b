"""Child processes that never outlive whoever started them."""

import ctypes
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from .wait import eventually

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    # Even a SIGKILL of the test run leaves nothing behind. Linux only; elsewhere the `finally`s have to do.
    if hasattr(_libc, "prctl"):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One running program, its output in `log`.

    Its own session, so that a Ctrl-C in the terminal goes to us alone and we end it in order.
    """

    def __init__(self, args, log, *, env=None, cwd=None, stdout=None):
        self.args = [str(a) for a in args]
        self.log_path = Path(log)
        # PDEATHSIG fires when the *thread* that forked ends, so only the main thread may start processes.
        assert threading.current_thread() is threading.main_thread()
        with open(self.log_path, "wb") as out:
            self.popen = subprocess.Popen(
                self.args,
                stdin=subprocess.DEVNULL,
                stdout=stdout if stdout is not None else out,
                stderr=out,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def exit_code(self):
        """The exit code, or None while it runs."""
        return self.popen.poll()

    def log(self):
        """Everything it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self, grace=5.0):
        """SIGTERM, and SIGKILL after `grace` seconds. Harmless when it has ended already."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(grace)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if self.popen.stdout:
            self.popen.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class NodePeer(Process):
    """One of the Node programs in `tests/e2e/node`, ready when it has printed its line of JSON (`self.ready`)."""

    def __init__(self, script, *args, log):
        from .paths import NODE_PEERS, require

        require(NODE_PEERS / "node_modules")
        self._out = Path(log).with_suffix(".stdout")
        with open(self._out, "wb") as out:
            super().__init__(["node", NODE_PEERS / script, *args], log, stdout=out)
        try:
            self.ready = eventually(self._first_line, lambda: f"{script} to be ready; it said: {self.log()}", deadline=30)
        except BaseException:
            self.stop()
            raise

    def _first_line(self):
        # Asked before the output is read: a client that has ended may have said all it had to say.
        ended = self.exit_code
        line, newline, _ = self._out.read_text().partition("\n")
        if newline:
            return json.loads(line)
        if ended is not None:
            raise AssertionError(f"{self.args} ended with {ended}: {self.log()}")
        return None
