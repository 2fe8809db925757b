"""Datadog's log search and aggregation, as far as Datadog documents it and our page uses it; anything else is an error.

Bodies are checked by the types of Datadog's own client. The search syntax is that of "Log Search Syntax" in its documentation: `@path:value` with
`*` as wildcard, quotes, `-`, AND (also by standing side by side), OR, parentheses.
"""

import re
from collections import Counter

from datadog_api_client.model_utils import ModelSimple, validate_and_convert_types
from datadog_api_client.v2.model.logs_aggregate_request import LogsAggregateRequest
from datadog_api_client.v2.model.logs_list_request import LogsListRequest

_TOKEN = re.compile(r"\s+|(?P<open>\()|(?P<close>\))|(?P<word>AND|OR)\b|(?P<term>-?@[\w.]+:(?:\"[^\"]*\"|[\w.*:/=@-]+))")


class Unreadable(Exception):
    """No query, or one beyond what is documented."""


def check(body):
    """Raises what Datadog's client says of a body that its API would not take."""
    model = LogsAggregateRequest if "compute" in body else LogsListRequest
    unknown = {}

    class Configuration:
        discard_unknown_keys = False
        spec_property_naming = True

    made = validate_and_convert_types(body, (model,), ["body"], True, True, Configuration())
    pending = [made]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif hasattr(value, "_data_store"):
            if getattr(value, "_unparsed", False):
                unknown["unparsed"] = value
            if isinstance(value, ModelSimple):
                continue
            allowed = set(value.attribute_map.values()) | set(value.attribute_map)
            unknown.update({k: v for k, v in value._data_store.items() if k not in allowed})
            pending += list(value._data_store.values())
    if unknown:
        raise Unreadable(f"unknown to the API: {unknown}")


def _value(event, path):
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def matcher(query):
    """A function that says whether an event matches."""
    tokens, at = [], 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if not match:
            raise Unreadable(f"at {query[at:at + 30]!r}")
        if match.lastgroup:
            tokens.append((match.lastgroup, match[0]))
        at = match.end()
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else (None, None)

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def either():
        left = both()
        while peek() == ("word", "OR"):
            take()
            left = (lambda a, b: lambda e: a(e) or b(e))(left, both())
        return left

    def both():
        left = one()
        while peek() == ("word", "AND") or peek()[0] in ("term", "open"):
            if peek()[0] == "word":
                take()
            left = (lambda a, b: lambda e: a(e) and b(e))(left, one())
        return left

    def one():
        kind, text = take() if position < len(tokens) else (None, "the end")
        if kind == "open":
            inner = either()
            if take()[0] != "close":
                raise Unreadable("a parenthesis is open")
            return inner
        if kind != "term":
            raise Unreadable(f"{text!r} where a term should be")
        negated, path, value = re.fullmatch(r"(-?)@([\w.]+):(.*)", text).groups()
        if value.startswith('"'):
            pattern = re.escape(value[1:-1])
        else:
            pattern = ".*".join(re.escape(part) for part in value.split("*"))
        return lambda e: (_value(e, path) is not None and re.fullmatch(pattern, str(_value(e, path))) is not None) != bool(negated)

    found = either()
    if position != len(tokens):
        raise Unreadable(f"{peek()[1]!r} is too much")
    return found


def run(body, events):
    """What the body asks, of these events: counts by facets, or the events."""
    check(body)
    matches = matcher(body["filter"]["query"])
    found = [e for e in events if matches(e)]
    if "compute" not in body:
        return sorted(found, key=lambda e: e["ts"])
    counts = Counter()
    series = any(c.get("type") == "timeseries" for c in body["compute"])
    for event in found:
        # An event that lacks a facet is in no group.
        values = [_value(event, group["facet"].removeprefix("@")) for group in body["group_by"]]
        if all(v is not None for v in values):
            counts[(event["ts"][:16],) * series + tuple(values)] += 1
    return counts


__all__ = ["Unreadable", "check", "matcher", "run"]
