"""The project's pages, and what is in them: headings, links, blocks of code."""

import re
import unicodedata
from typing import NamedTuple

import site_pages
from harness.paths import ROOT

PAGES = [page for page in site_pages.tracked(ROOT) if page.endswith(".md")]


class Block(NamedTuple):
    """A fenced block: where it begins (line 1 is the first), the words after the fence, its text."""

    page: str
    line: int
    info: str
    text: str


def text_of(page):
    return (ROOT / page).read_text()


def blocks(page):
    """Every fenced block; an unclosed one is an error."""
    found, begun = [], None
    for number, line in enumerate(text_of(page).splitlines(), 1):
        fence = re.match(r"( *)(```+)(.*)$", line)
        if begun is None and fence:
            begun = (number, fence[1], fence[2], fence[3].strip(), [])
        elif begun is not None and line.strip() == begun[2]:
            number, indent, _, info, lines = begun
            found.append(Block(page, number, info, "\n".join(line.removeprefix(indent) for line in lines) + "\n"))
            begun = None
        elif begun is not None:
            begun[4].append(line)
    assert begun is None, f"{page}: the block of line {begun[0]} has no end"
    return found


def prose(page):
    """A page without its code, so that what looks like a link in an example is none."""
    kept, inside = [], False
    for line in text_of(page).splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(re.sub(r"(`+)(?!`).*?\1", lambda code: "x" * len(code[0]), line) if "](" in line else line)
    return "\n".join(kept)


def links(page):
    """The targets of a page's links and pictures."""
    text = re.sub(r"^\[[^\]]+\]: (\S+)$", r"[x](\1)", prose(page), flags=re.M)
    return re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text)


def anchors(page):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    found, seen = set(), {}
    inside = False
    for line in text_of(page).splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        heading = re.match(r"#{1,6} (.+?)\s*#*$", line)
        if inside or not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        words = unicodedata.normalize("NFC", words).lower()
        slug = "".join(c for c in words if c.isalnum() or c in " -_").replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(slug if count == 0 else f"{slug}-{count}")
    found.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text_of(page)))
    return found
