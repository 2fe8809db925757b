"""Soak and chaos: good and hostile callers at a steady rate, while peers fail and policies change, and what must hold is watched
live. `make soak MINUTES=…`."""
