"""What the end-to-end tests and the demo share: real processes, hostile requests, foreign issuers.

Everything listens on 127.0.0.1, on ports the kernel hands out; whoever starts a process ends it by its pid.
"""
