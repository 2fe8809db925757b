"""Whether memory is flat: what is in use at the end of a soak beside what was in use after its first third.

Resident memory alone does not say. Envoy reads an upstream's answer whole before the filter hears how long it is, so ten megabytes from
somebody who is broken are ten megabytes of its heap, times those who ask at the time; its allocator keeps most of that when it is free
again, and the next peak may be a higher one. What is free is no leak; what is in use is told apart by `harness.memory`.
"""

import statistics
from dataclasses import asdict

from harness.memory import Memory

# By how much either may have grown.
GROWTH = 0.1
# What a worker computes once for each of its ES256 keys, as many as 16 (`src/jose/verify/es256`), and a replaced key keeps its own.
# While one is computed its parts are there twice; that peak may come with the first new key.
TABLE_KIB, TABLES = 288, 16
# What Envoy itself keeps of each configuration that was replaced: a timer of each worker, and the names of callbacks. It is 2 KiB with two
# workers, and 0.9 KiB with a filter that does nothing.
RELOAD_KIB = 4
# Moments that a figure is the median of, at each of the three places. An answer of ten megabytes comes and goes within them.
SPAN = 0.25


class Watch:
    """Looks at an Envoy's memory while a soak runs. `workers` of it verify signatures."""

    def __init__(self, envoy, workers):
        self._envoy, self._workers, self._seen = envoy, workers, []

    def look(self, es256_keys, reloads):
        """Now. So many ES256 keys have been in use so far, and so many configurations in force."""
        tables = min(es256_keys, TABLES) * self._workers * TABLE_KIB
        self._seen.append((self._envoy.memory(), tables, reloads * RELOAD_KIB))

    @property
    def table(self):
        """{what: KiB after a third, after two thirds, at the end, at most}; None for the places of a run that ended at once. `tables` are
        those of ES256 keys, in `modules`."""
        if not self._seen:
            return {}
        places = self._places() or []
        made = {}
        for name in [*asdict(self._seen[0][0]), "other", "in_use"]:
            made[name] = [getattr(m, name) for m, _, _ in places], max(getattr(m, name) for m, _, _ in self._seen)
        made["tables"] = [tables for _, tables, _ in places], max(tables for _, tables, _ in self._seen)
        return {name: (*(figures or [None] * 3), most) for name, (figures, most) in made.items()}

    def growth(self):
        """What is not flat, in words; empty if all is."""
        if not (places := self._places()):
            return []
        (early, tables, reloads), _, (late, late_tables, late_reloads) = places
        tables, reloads = late_tables - tables, late_reloads - reloads
        tables += self._workers * TABLE_KIB if tables else 0
        found = []
        for name, what, excused in (("modules", "the filter's memory", tables), ("in_use", "memory in use", tables + reloads)):
            before, after = getattr(early, name), getattr(late, name)
            if after > before * (1 + GROWTH) + excused:
                found.append(f"{what} grew from {before} KiB to {after} KiB, of which {excused} KiB are accounted for")
        return found

    def _places(self):
        """What was seen after a third, after two thirds and at the end: medians, each figure by itself."""
        third = len(self._seen) // 3
        if third < 4:
            return None
        span = max(3, int(third * SPAN))
        parts = self._seen[third:third + span], self._seen[2 * third:2 * third + span], self._seen[-span:]
        return [_median(part) for part in parts]


def _median(seen):
    memories, tables, reloads = zip(*seen)
    middle = Memory(**{name: int(statistics.median(getattr(m, name) for m in memories)) for name in asdict(memories[0])})
    return middle, int(statistics.median(tables)), int(statistics.median(reloads))
