"""The demo does what it says, and leaves nothing running."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.paths import ROOT
from harness.process import Process
from harness.wait import eventually

RUN = ROOT / "demo/run.py"


def test_once():
    done = subprocess.run([sys.executable, RUN, "--once"], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert "All 11 steps went as they should." in done.stdout
    assert "\x1b" not in done.stdout, "colours in a log"
    assert "gak_" not in done.stdout and "gapi_" not in done.stdout, "a key was printed"
    assert "eyJ" not in done.stdout.replace("eyJ…", ""), "a token was printed"


def children(pid):
    """Pids of the processes that `pid` has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_told_and_ends_everything(tmp_path, how):
    with Process([sys.executable, RUN], tmp_path / "demo.log") as demo:
        def invited():
            assert demo.exit_code is None, demo.log()
            return "Ctrl-C ends it all." in demo.log()

        eventually(invited, lambda: f"the invitation; {demo.log()}", 180, 0.2)
        running = children(demo.pid)
        assert len(running) == 4, "issuer, agent, key service and proxy"
        os.kill(demo.pid, how)
        eventually(lambda: demo.exit_code is not None, "the demo to end", 20)
        assert demo.exit_code == 0, demo.log()
        assert not [p for p in running if alive(p)]


def test_a_claim_that_does_not_hold_fails_the_demo(tmp_path):
    """The same run with an issuer whose keys nobody can fetch."""
    script = tmp_path / "broken.py"
    script.write_text(
        "import runpy, sys\n"
        f"sys.path[:0] = [{str(ROOT / 'tests/e2e')!r}, {str(ROOT / 'demo')!r}]\n"
        "from harness.bootstrap import Bootstrap\n"
        "point = Bootstrap.point\n"
        "Bootstrap.point = lambda self, name, port: point(self, name, 1 if name == 'issuer' else port)\n"
        f"sys.argv = ['run.py', '--once']\nrunpy.run_path({str(RUN)!r}, run_name='__main__')\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
