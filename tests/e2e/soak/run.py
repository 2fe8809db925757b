"""The run: callers at a steady rate, chaos beside them, and the invariants, judged as it goes."""

import json
import random
import statistics
import threading
import time
from collections import Counter

from harness.http1 import Connection
from harness.load import Load
from harness.tokens import Key

from .callers import Callers
from .flat import Watch
from .world import IN_FORCE_SECONDS, RECOVERY_SECONDS, WORKERS, World

FAULTS = ["down", "slow", "hangup", "500", "html", "10 MB"]
REFUSALS = {400, 401, 403, 429, 503}
# How long an audit event may take to be in its file.
AUDIT_SECONDS = 10.0
HTTP2_RATE = 100
# One of each provider: all have to be let in before anything breaks.
FIRST = ["member", "newcomer", "entra", "overage", "github", "iap", "aws", "signer", "signed_poster", "opaque", "key", "service_key", "static"]


class Soak:
    """One soak; `run` returns the report's facts, `violations` is empty if all went well."""

    def __init__(self, folder, *, minutes, seed, rate, clients):
        self.folder, self.seconds, self.seed, self.rate, self.clients = folder, minutes * 60, seed, rate, clients
        self.violations, self.outcomes, self.latencies = [], {}, []
        self.reloads, self.refused_reloads, self.outages, self.rotations, self.leavers = 0, 0, Counter(), 0, 0
        self._answered, self._events, self._lock, self._over = {}, Counter(), threading.Lock(), threading.Event()
        self._http2, self._good_kinds, self._without_groups, self._published = [], set(), 0, []

    def violation(self, what):
        """Says so at once and ends the run."""
        with self._lock:
            self.violations.append(f"after {time.monotonic() - self._began:.0f} s: {what}")
        print(f"VIOLATION {self.violations[-1]}", flush=True)
        self._over.set()

    def run(self):
        self._began = time.monotonic()
        self.world = World(self.folder, self.violation)
        try:
            self.memory = Watch(self.world.stack.envoy, WORKERS)
            self._began = time.monotonic()
            self._end = self._began + self.seconds
            self._settle()
            threads = [threading.Thread(target=self._guarded, args=job, daemon=True) for job in self._jobs()]
            for thread in threads:
                thread.start()
            self._attend()
            for thread in threads:
                thread.join(60)
            took = time.monotonic() - self._began
            self._last_look()
            return self._facts(took)
        finally:
            self.world.close()

    def _jobs(self):
        # Each has a source of its own, so that the seed says what each does, whatever the others do meanwhile.
        for n in range(self.clients):
            yield self._call, random.Random(f"{self.seed} caller {n}"), n
        yield self._break_peers, random.Random(f"{self.seed} issuers"), self.world.issuers
        yield self._break_peers, random.Random(f"{self.seed} asked"), self.world.asked
        yield self._change_keys, random.Random(f"{self.seed} live keys")
        yield self._change_policies, random.Random(f"{self.seed} policies")
        yield self._rotate, random.Random(f"{self.seed} keys")
        yield self._leave, random.Random(f"{self.seed} leavers")
        yield (self._read_audit,)

    def _guarded(self, job, *arguments):
        try:
            job(*arguments)
        except Exception as error:  # of the soak itself, or a connection that the proxy cut: neither may pass unseen
            self.violation(f"{job.__name__}: {error!r}")

    def _settle(self):
        callers = Callers(self.world, random.Random(0), "settle")
        for _ in range(3):
            self.world.ring.create()
        while len(self.world.ring.live()) < 3:
            time.sleep(0.1)
        for kind in FIRST:
            while (response := self._one(Connection(self.world.stack.envoy.port), ask := getattr(callers, kind)())[0]).status != 200 \
                    or ask.groups != (response.header("x-soak-groups") or None):
                if time.monotonic() - self._began > 60:
                    raise AssertionError(f"{kind} does not get in: {response}\n{self.world.stack.envoy.log()[-3000:]}")
                time.sleep(0.1)
        # From here on nothing is excused.
        self.outcomes.clear()
        self.latencies.clear()

    # Callers

    def _call(self, source, number):
        callers, pace = Callers(self.world, source, f"c{number}"), self.clients / self.rate
        connection, due = Connection(self.world.stack.envoy.port), time.monotonic()
        while not self._over.wait(max(0, due - time.monotonic())):
            due += pace
            if source.random() < 0.02:
                connection.close()
                connection = Connection(self.world.stack.envoy.port)
            ask = callers.next()
            response, began, ended = self._one(connection, ask)
            if response.header("connection") == "close":
                connection.close()
                connection = Connection(self.world.stack.envoy.port)
            self._judge(ask, response, began, ended)
        connection.close()

    def _one(self, connection, ask):
        began = time.monotonic()
        response = connection.request(ask.method, ask.target, ask.headers, ask.body)
        ended = time.monotonic()
        with self._lock:
            # Envoy itself answers what it does not route (400); no filter has seen that.
            if response.status != 400:
                self._answered[response.header("x-request-id")] = ended
            self.outcomes.setdefault(ask.kind, Counter())[response.status] += 1
            if ask.verdict != "hostile":
                self._good_kinds.add(ask.kind)
            if ask.verdict == "good":
                self.latencies.append(ended - began)
        return response, began, ended

    def _judge(self, ask, response, began, ended):
        world, status = self.world, response.status
        if ask.verdict == "hostile":
            if status not in REFUSALS:
                self.violation(f"hostile {ask.kind} was answered {status}")
            return
        if ask.verdict == "unknown" or (ask.verdict == "carol" and world.carol_denied.touches(began, ended)):
            return
        # Revoked while it was on its way.
        if ask.key and ask.key.leaving is not None and ask.key.leaving <= ended:
            return
        if status == 200:
            if ask.groups and not response.header("x-soak-groups"):
                with self._lock:
                    self._without_groups += 1
                if not (ask.directory and world.broken["graph"].touches(began - RECOVERY_SECONDS, ended)):
                    self.violation(f"good {ask.kind} arrived without groups")
            return
        # Key sets serve on through their grace of an hour; only questions about one credential need their peer there and then.
        excused = status == 503 and ask.asks and world.broken[ask.asks].touches(began - RECOVERY_SECONDS, ended)
        if not excused:
            self.violation(f"good {ask.kind} was answered {status}: {self._why(response, began)}")

    def _why(self, response, began):
        """What the audit event of a refusal says, what was published before, and what the filter then said about it; seconds before the request."""
        envoy, name, deadline = self.world.stack.envoy, response.header("x-request-id"), time.monotonic() + AUDIT_SECONDS
        while not (events := [e["fields"] for e in envoy.audit_lines() if e["correlation_id"] == name]) and time.monotonic() < deadline:
            time.sleep(0.2)
        said = [f"{e.get('reason')} {e.get('code')} under {e.get('config_version')}" for e in events]
        published = [f"{what} {began - at:.1f} s" for at, what in self._published[-6:]]
        log = [line for line in envoy.log().splitlines() if "configuration" in line and "portcullis:" in line]
        return "; ".join([*said, "published: " + ", ".join(published), *log[-8:]])

    def _leave(self, source):
        """Who hangs up in the middle, now and then while somebody is asked about them."""
        callers = Callers(self.world, source, "leaver")
        while not self._over.wait(source.uniform(0.1, 0.8)):
            ask = source.choice([
                callers.opaque, callers.aws, callers.overage, callers.signed_poster, callers.service_key, callers.unknown_kid, callers.member])()
            with Connection(self.world.stack.envoy.port) as connection:
                connection.send(ask.cut())
                time.sleep(source.choice([0, 0.02, 0.3]))
            self.leavers += 1

    # Chaos

    def _break_peers(self, source, peers):
        """One of `peers` at a time."""
        while not self._over.wait(source.uniform(1, 5)):
            name, how = source.choice(sorted(peers)), source.choice(FAULTS)
            peer = peers[name]
            self.world.broken[name].begin()
            self.outages[name, how] += 1
            peer.slowness = 1.5
            if how == "down":
                peer.stop()
            else:
                peer.fault = how
            self._over.wait(source.uniform(1, 6))
            peer.fault = None
            peer.start()
            self.world.broken[name].end()

    def _change_policies(self, source):
        allowed, changed = True, time.monotonic()
        world = self.world
        while not self._over.wait(source.uniform(0.3, 4)):
            # Files are read when there is time for it. A bad one that overtakes a good one puts the good one out of force for good, and nobody
            # could say who may call then.
            if source.random() < 0.2 and time.monotonic() - changed > IN_FORCE_SECONDS / 2:
                bad = world.with_carol(True, "bad")
                bad["auth"]["providers"][0]["settings"]["allowed_subjectss"] = ["*"]
                self._published.append((world.policies.publish(source.choice(["{", "{}", bad])), "bad"))
                self.refused_reloads += 1
                continue
            before, allowed = allowed, source.random() < 0.5
            if before and not allowed:
                # Noted first: the proxy may judge by it before this thread is let on.
                world.carol_denied.begin()
                at = world.policies.publish(world.with_carol(False, self.reloads))
            elif allowed and not before:
                world.carol_denied.end()
                at = world.policies.publish(world.with_carol(True, self.reloads))
            else:
                at = world.policies.publish(world.with_carol(allowed, self.reloads))
            self._published.append((at, f"{'with' if allowed else 'without'} carol"))
            self.reloads += 1
            changed = time.monotonic()

    def _rotate(self, source):
        while not self._over.wait(source.uniform(10, 20)):
            issuer = source.choice(self.world.rotating)
            if not issuer.settled():
                continue
            key = Key(f"new-{self.rotations + 1}", issuer.keys[-1].alg)
            issuer.keys = [issuer.keys[-1], key]
            self.world.es256_keys += key.alg == "ES256"
            self.rotations += 1

    def _change_keys(self, source):
        """Keys are made and revoked in the key service, whether the proxy can hear of it or not."""
        while not self._over.wait(source.uniform(2, 5)):
            if source.random() < 0.5:
                self.world.ring.create()
            else:
                self.world.ring.revoke(source)

    # Watching

    def _attend(self):
        """What only the main thread may do: start and end processes."""
        envoy, number, load = self.world.stack.envoy, 0, None
        while not self._over.wait(0.5) and time.monotonic() < self._end:
            if load is None or load.exit_code is not None:
                self._http2 += [load.report()] if load else []
                number += 1
                token = self.world.one.token(self.world.one.signing_key(), sub="agent-http2", ttl=600)
                load = Load(envoy.port, self.folder / f"h2load-{number % 2}.log", requests=HTTP2_RATE * 8, clients=4, rate=HTTP2_RATE,
                            target="/rest/fast", headers=[("authorization", f"Bearer {token}")], http1=False)
            if envoy.exit_code is not None:
                self.violation(f"Envoy ended with {envoy.exit_code}: {envoy.log()[-2000:]}")
                break
            self.memory.look(self.world.es256_keys, self.reloads)
            if failures := envoy.vm_failures():
                self.violation(f"the VM was lost: {failures}")
            self._audited(time.monotonic() - AUDIT_SECONDS)
        self._over.set()
        if load:
            self._http2.append(load.report())
        for report in self._http2:
            if report.failed or report.by_class["2xx"] != report.total:
                self.violation(f"HTTP/2 callers were turned away: {report}")

    def _read_audit(self):
        path, read = self.world.stack.envoy.audit_path, 0
        while not self._over.wait(0.5):
            read = self._read_events(path, read)
        self._audit_at = path, read

    def _read_events(self, path, read):
        with open(path, "rb") as log:
            log.seek(read)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        ids = [json.loads(line)["correlation_id"] for line in text.splitlines()]
        with self._lock:
            self._events.update(ids)
            twice = [i for i in ids if self._events[i] > 1]
        if twice:
            self.violation(f"more than one audit event for {twice[:3]}")
        return read + len(text)

    def _audited(self, before):
        """Each request that was answered until then has its one event."""
        with self._lock:
            due = [i for i, at in self._answered.items() if at < before]
            missing = [i for i in due if self._events[i] != 1]
            for i in due:
                del self._answered[i]
        self.checked = getattr(self, "checked", 0) + len(due)
        if missing:
            self.violation(f"{len(missing)} requests without an audit event, the first {missing[0]}")

    def _last_look(self):
        deadline = time.monotonic() + AUDIT_SECONDS
        while time.monotonic() < deadline and any(self._events[i] != 1 for i in list(self._answered)):
            time.sleep(0.2)
            self._audit_at = self._audit_at[0], self._read_events(*self._audit_at)
        self._audited(float("inf"))
        if failures := self.world.stack.envoy.vm_failures():
            self.violation(f"the VM was lost: {failures}")
        held = self.world.stack.envoy.stats("portcullis.waiting$")
        if any(held.values()):
            time.sleep(2)
            held = self.world.stack.envoy.stats("portcullis.waiting$")
            if any(held.values()):
                self.violation(f"requests are still held: {held}")
        for grown in self.memory.growth():
            self.violation(grown)

    def _facts(self, took):
        # A run that a violation ended at once has none to speak of.
        cuts = statistics.quantiles(self.latencies, n=100) if len(self.latencies) > 1 else [0.0] * 99
        good = {k: c for k, c in self.outcomes.items() if k in self._good_kinds}
        hostile = {k: c for k, c in self.outcomes.items() if k not in self._good_kinds}
        return {
            "seed": self.seed, "seconds": took, "clients": self.clients,
            "requests": sum(sum(c.values()) for c in self.outcomes.values()), "good": good, "hostile": hostile,
            "http2": sum(r.total for r in self._http2), "leavers": self.leavers, "reloads": self.reloads,
            "refused_reloads": self.refused_reloads, "outages": self.outages, "rotations": self.rotations, "audited": self.checked,
            "p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "memory": self.memory.table,
            "without_groups": self._without_groups, "keys_made": self.world.ring.made, "keys_revoked": self.world.ring.revoked,
            "put_off": self.world.ring.put_off, "violations": self.violations}

