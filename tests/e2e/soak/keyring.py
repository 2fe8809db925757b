"""Keys of the key service that come and go while a soak runs, and what each is worth at a moment."""

import threading
import time

from harness.service import Refused

# An interval of the feed and what a busy machine may take.
IN_FORCE_SECONDS = 6.0
# The longest backoff of a poll that failed, the time that one may take, and the interval.
RECOVERY_SECONDS = 10.0 + 3.0 + 1.0
# The service gives up on its database after ten seconds, which a busy disk may take, and says so by 503. Then it is asked again for so long.
PATIENCE_SECONDS = 60.0


class LiveKey:
    """One key. Moments are monotonic seconds: `made` when the service had answered, `leaving` before it was told to revoke the key,
    `gone` when it had answered that."""

    def __init__(self, key, key_id):
        self.key, self.id, self.made = key, key_id, time.monotonic()
        self.leaving = self.gone = None
        self.known = self.known_gone = False


class KeyRing:
    """Makes and revokes keys by the service's API (`harness.service.Api`). `broken` is the feed's `History`: a worker can't know what
    happened while it was out, nor before it has asked again. `log` is the service's, for its reasons when it has put us off."""

    OWNER = "carla@example.com"

    def __init__(self, api, broken, log):
        self._api, self._broken, self._log, self._lock = api, broken, log, threading.Lock()
        self._keys = []
        self.made = self.revoked = self.put_off = 0

    def create(self):
        made = LiveKey(*self._patiently(lambda: self._api.create({"agent": "orders"}, owner=self.OWNER, name=f"soak {self.made}")))
        with self._lock:
            self._keys.append(made)
            self.made += 1
        return made

    def revoke(self, random):
        """Any of those that are in use, if there are any to spare."""
        with self._lock:
            live = [k for k in self._keys if k.leaving is None]
            if len(live) < 3:
                return
            key = random.choice(live)
            key.leaving = time.monotonic()
        self._patiently(lambda: self._api.revoke(key.id))
        key.gone = time.monotonic()
        with self._lock:
            self.revoked += 1
            # The oldest of them have been tried often enough.
            gone = [k for k in self._keys if k.gone is not None]
            for old in gone[:-20]:
                self._keys.remove(old)

    def _patiently(self, ask):
        """What the service answers, in the end: 503 from it says that nothing was changed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except Refused as refused:
                if refused.status != 503 or time.monotonic() > deadline:
                    raise
                self.put_off += 1
                why = [line for line in self._log().splitlines() if "a request failed" in line]
                print(f"the key service put us off: {why[-1:]}", flush=True)
                time.sleep(1)

    def live(self):
        """Keys that every worker knows and that nobody is about to revoke."""
        with self._lock:
            found = [k for k in self._keys if k.leaving is None]
        for key in found:
            key.known = key.known or self._told(key.made)
        return [k for k in found if k.known]

    def dead(self):
        """Keys that every worker knows to be revoked."""
        with self._lock:
            found = [k for k in self._keys if k.gone is not None]
        for key in found:
            key.known_gone = key.known_gone or self._told(key.gone)
        return [k for k in found if k.known_gone]

    def _told(self, since):
        """Whether every worker has polled with success after that moment."""
        now = time.monotonic()
        if now - since < IN_FORCE_SECONDS:
            return False
        return (not self._broken.touches(since - RECOVERY_SECONDS, since + IN_FORCE_SECONDS)
                or not self._broken.touches(now - RECOVERY_SECONDS - IN_FORCE_SECONDS, now))
