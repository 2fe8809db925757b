"""CloudWatch Logs Insights' query language, as far as AWS documents it and our page uses it: anything else is an error.

Nobody offers the real thing offline. The commands and functions are those of "CloudWatch Logs Insights language query syntax" in the
CloudWatch Logs user guide: fields, parse (regular expressions only), filter, stats, sort, limit, display. A name with other characters than
letters, digits, `@` and `.` has to stand in backticks, as that page demands.
"""

import json
import re
from collections import defaultdict
from datetime import datetime

_TOKEN = re.compile(
    r"\s+|(?P<regex>/(?:\\.|[^/\\])+/)|(?P<text>\"[^\"]*\")|(?P<ticked>`[^`]+`)|(?P<span>\d+[smhd]\b)|(?P<number>\d+)"
    r"|(?P<word>[@A-Za-z][@A-Za-z0-9.]*(?:_[A-Za-z]+)?)|(?P<op>!=|[=|,()*])")
_FUNCTIONS = {"coalesce", "ispresent", "bin", "count", "max", "min", "count_distinct"}
_AGGREGATES = {"count", "max", "min", "count_distinct"}
_WORDS = {"and", "or", "not", "like", "as", "by", "asc", "desc"}


class Unreadable(Exception):
    """No query of the documented language."""


def discover(line, when):
    """The fields of one log line: CloudWatch flattens JSON with dots, and knows nothing of a line that is not JSON as a whole."""
    found = {"@message": line, "@timestamp": when}
    try:
        pending = [("", json.loads(line))]
    except ValueError:
        return found
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{path}.{k}" if path else k, v) for k, v in value.items()]
        else:
            found[path] = str(value)
    return found


class _Parser:
    def __init__(self, query):
        self.tokens, at = [], 0
        while at < len(query):
            match = _TOKEN.match(query, at)
            if not match:
                raise Unreadable(f"at {query[at:at + 30]!r}")
            if match.lastgroup:
                self.tokens.append((match.lastgroup, match[0]))
            at = match.end()
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, None)

    def take(self, *wanted):
        kind, text = self.peek()
        if wanted and text not in wanted and kind not in wanted:
            raise Unreadable(f"{text!r} where {wanted} should be")
        self.at += 1
        return text

    def accept(self, text):
        if self.peek()[1] == text:
            self.at += 1
            return True
        return False

    def some(self, read):
        found = [read()]
        while self.accept(","):
            found.append(read())
        return found

    def name(self):
        kind, text = self.peek()
        if kind == "ticked":
            return self.take()[1:-1]
        if kind != "word" or "_" in text or text in _WORDS:
            raise Unreadable(f"{text!r} is no name of a field; names with other characters stand in backticks")
        return self.take()

    def alias(self):
        kind, text = self.peek()
        return self.take()[1:-1] if kind == "ticked" else self.take("word")

    def expression(self):
        """(label, function of a row)"""
        kind, text = self.peek()
        if kind == "text":
            self.take()
            return text, lambda row: text[1:-1]
        if kind == "word" and self.tokens[self.at + 1:self.at + 2] == [("op", "(")]:
            if text not in _FUNCTIONS:
                raise Unreadable(f"no function {text}")
            return self.function(self.take())
        name = self.name()
        return name, lambda row: row.get(name)

    def function(self, name):
        self.take("(")
        if name == "bin":
            if self.take("span") != "1m":
                raise Unreadable("only bin(1m)")
            self.take(")")
            return "bin(1m)", lambda row: row["@timestamp"][:16]
        if name == "count" and self.accept("*"):
            self.take(")")
            return "count(*)", len
        arguments = [e for _, e in self.some(self.expression)]
        self.take(")")
        first = arguments[0]
        return name, {
            "coalesce": lambda row: next((v for v in (a(row) for a in arguments) if v is not None), None),
            "ispresent": lambda row: first(row) is not None,
            "count": lambda rows: sum(first(r) is not None for r in rows),
            "max": lambda rows: max((first(r) for r in rows if first(r) is not None), default=None),
            "min": lambda rows: min((first(r) for r in rows if first(r) is not None), default=None),
            "count_distinct": lambda rows: len({first(r) for r in rows if first(r) is not None}),
        }[name]

    def labelled(self):
        label, value = self.expression()
        return (self.alias(), value) if self.accept("as") else (label, value)

    def condition(self):
        left = self.conjunction()
        while self.accept("or"):
            left = (lambda a, b: lambda row: a(row) or b(row))(left, self.conjunction())
        return left

    def conjunction(self):
        left = self.comparison()
        while self.accept("and"):
            left = (lambda a, b: lambda row: a(row) and b(row))(left, self.comparison())
        return left

    def comparison(self):
        if self.accept("not"):
            inner = self.comparison()
            return lambda row: not inner(row)
        if self.accept("("):
            inner = self.condition()
            self.take(")")
            return inner
        _, left = self.expression()
        if self.accept("like"):
            kind, text = self.peek()
            self.take("regex", "text")
            pattern = re.compile(regex(text) if kind == "regex" else re.escape(text[1:-1]))
            return lambda row: bool(pattern.search(left(row) or ""))
        if self.peek()[1] not in ("=", "!="):
            return lambda row: bool(left(row))
        same = self.take() == "="
        _, right = self.expression()
        return lambda row: (left(row) == right(row)) == same


def regex(text):
    """A regular expression between slashes, its groups as Python names them."""
    return text[1:-1].replace("\\/", "/").replace("(?<", "(?P<")


def run(query, rows):
    """The rows of the answer, as lists in the order of its columns."""
    if not 0 < len(query) <= 10000:
        raise Unreadable("StartQuery takes at most 10,000 characters")
    parser, columns, limit = _Parser(query), [], 10000
    rows = [dict(row) for row in rows]
    while True:
        command = parser.take("fields", "parse", "filter", "stats", "sort", "limit", "display")
        if command == "fields":
            named = parser.some(parser.labelled)
            for row in rows:
                row.update([(label, value(row)) for label, value in named])
            columns += [label for label, _ in named if label not in columns]
        elif command == "display":
            columns = parser.some(parser.name)
        elif command == "parse":
            source = parser.name()
            pattern = re.compile(regex(parser.take("regex")))
            if not pattern.groupindex:
                raise Unreadable("parse needs a named group")
            for row in rows:
                match = pattern.search(row.get(source) or "")
                row.update(match.groupdict() if match else {})
        elif command == "filter":
            condition = parser.condition()
            rows = [row for row in rows if condition(row)]
        elif command == "stats":
            made = parser.some(parser.labelled)
            keys = parser.some(parser.labelled) if parser.accept("by") else []
            groups = defaultdict(list)
            for row in rows:
                groups[tuple(value(row) for _, value in keys)].append(row)
            rows = [{**dict(zip([k for k, _ in keys], at)), **{label: value(group) for label, value in made}} for at, group in groups.items()]
            columns = [k for k, _ in keys] + [label for label, _ in made]
        elif command == "sort":
            by = parser.name()
            down = parser.peek()[1] in ("asc", "desc") and parser.take() == "desc"
            if rows and by not in columns and not any(by in row for row in rows):
                raise Unreadable(f"sorted by {by}, which there is not")
            rows.sort(key=lambda row: (row.get(by) is not None, row.get(by)), reverse=down)
        else:
            limit = int(parser.take("number"))
        if parser.peek() == (None, None):
            return [[row.get(c) for c in columns] for row in rows[:limit]]
        parser.take("|")


def when(line):
    """The moment that CloudWatch would have taken the line in: here that of its event."""
    match = re.search(r'"ts":"([^"]+)"', line)
    return match[1] if match else datetime.fromtimestamp(0).isoformat()
