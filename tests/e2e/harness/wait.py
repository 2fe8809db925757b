"""Polling with a deadline, in place of sleeps."""

import time


def eventually(probe, what, deadline=10.0, interval=0.02):
    """Calls `probe` until it returns something true, and returns that.

    `what` says what was waited for, in words that fit after "waited for"; it may be a function, so that
    the message can say what was there instead. `deadline` and `interval` are seconds.
    """
    end = time.monotonic() + deadline
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"waited {deadline:g} s in vain for {what() if callable(what) else what}")
        time.sleep(interval)
