"""Fixtures of the end-to-end tests. Each test file is one concern and has Envoys of its own."""

import pytest

from harness.issuer import Issuer
from harness.stack import Stack


class Pile:
    """Makes stacks and issuers, and ends them all, last one first, whatever happened in between."""

    def __init__(self, tmp_path_factory):
        self._tmp = tmp_path_factory
        self._made = []

    def issuer(self, *args, **kwargs):
        issuer = Issuer(*args, **kwargs)
        self._made.append(issuer)
        return issuer

    def stack(self, config=None, **kwargs):
        stack = Stack(self._tmp.mktemp("envoy"), config, **kwargs)
        self._made.append(stack)
        return stack

    def add(self, closable):
        self._made.append(closable)
        return closable

    def close(self):
        errors = []
        while self._made:
            try:
                self._made.pop().close()
            except BaseException as error:  # the rest must be ended all the same
                errors.append(error)
        if errors:
            raise errors[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For what a whole test file shares."""
    pile = Pile(tmp_path_factory)
    yield pile
    pile.close()


@pytest.fixture
def pile(tmp_path_factory):
    """For what one test needs for itself."""
    pile = Pile(tmp_path_factory)
    yield pile
    pile.close()
