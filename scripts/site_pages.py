"""The book's sources, for `scripts/site`: the pages as they lie in the repository, and a table of contents made of them."""

import re
import shutil
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

# Chapters and their pages in order. A pattern takes what no line before it took, so a new page finds its place by its folder.
CHAPTERS = {
    "Start here": ["docs/start.md", "demo/README.md", "docs/architecture.md"],
    "Who can call": ["docs/auth/README.md", "docs/auth/oidc-presets.md", "docs/auth/providers/*.md", "docs/auth/*.md", "docs/auth/recipes/*.md",
                     "docs/integrations/*.md"],
    "Reference": ["docs/configuration.md", "docs/reasons.md", "docs/metrics.md"],
    "Hosts": ["docs/hosts/README.md", "docs/hosts/envoy.md", "docs/hosts/*.md"],
    "Operations": ["docs/operations.md", "docs/runbooks.md", "docs/keys.md", "docs/keys-feed.md", "examples/observability/README.md",
                   "docs/migrating/README.md", "docs/migrating/*.md", "docs/release.md"],
    "Performance": ["docs/performance.md", "docs/instructions.md", "docs/soak.md", "docs/performance/*.md"],
    "Conformance and threats": ["docs/conformance.md", "docs/attacks.md", "docs/threats.md", "SECURITY.md"],
    "Contributing": ["CONTRIBUTING.md", "docs/contributing*.md", "docs/contributing/*.md", "tests/scenarios/README.md", "docs/decisions/*.md", "CHANGELOG.md"],
    "More": ["docs/*.md", "docs/*/*.md"],
}
# No page of the book: a note about files beside it.
LEFT_OUT = ["control/service/assets/README.md", "docs/performance/notes.md"]
BOOK = """[book]
title = "Portcullis"
description = "Authenticates every caller of your AI agents."
language = "en"
src = "src"

[build]
create-missing = false

[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
no-section-label = true
"""


def title(page):
    """A page's first heading."""
    found = re.search(r"^#+ (.+)$", page.read_text(), re.M)
    assert found, f"{page} has no heading"
    return re.sub(r"[`\[\]]", "", found[1])


def summary(root, pages):
    """The table of contents: every page once, in the order of the chapters."""
    left = [page for page in pages if page not in LEFT_OUT and page != "README.md"]
    lines = ["# Summary", "", "[Portcullis](README.md)", ""]
    for chapter, patterns in CHAPTERS.items():
        here = []
        for pattern in patterns:
            # Globs of one folder, as in a shell: `*` does not go into folders below.
            form = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
            here += sorted(page for page in left if form.fullmatch(page) and page not in here)
        left = [page for page in left if page not in here]
        if here:
            lines += [f"# {chapter}", "", *(f"- [{title(root / page)}]({page})" for page in here), ""]
    assert not left, f"no chapter of scripts/site_pages.py takes {left}"
    return "\n".join(lines)


def tracked(root):
    """What is committed or about to be."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True)
    return sorted({line for line in listed.stdout.splitlines() if (root / line).is_file()})


def sources(root, out):
    """Lays out `out/src` as the repository is laid out, so that links between pages hold; files that pages link to come along."""
    root, out = Path(root), Path(out)
    shutil.rmtree(out, ignore_errors=True)
    files = tracked(root)
    pages = [f for f in files if f.endswith(".md") and f not in LEFT_OUT]
    linked = {f for page in pages for f in targets(root, page)}
    for file in {*pages, *(f for f in files if f in linked or any(f.startswith(f"{folder}/") for folder in linked))}:
        there = out / "src" / file
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, there)
    # A link to a folder: a browser that reads files shows no list of one, so it goes to the folder's page, or to one made here.
    for folder in sorted(f for f in linked if (root / f).is_dir()):
        there = out / "src" / folder / "README.md"
        if not there.exists():
            inside = [f for f in files if f.startswith(f"{folder}/")]
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(f"# {folder}\n\n" + "".join(f"- [{f.removeprefix(folder + '/')}]({f.removeprefix(folder + '/')})\n" for f in inside))
            pages.append(f"{folder}/README.md")
            for f in inside:
                (out / "src" / f).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / f, out / "src" / f)
    for page in {*pages}:
        there = out / "src" / page
        there.write_text(re.sub(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)", lambda link, page=page: folder_link(root, page, link), there.read_text()))
    made = [p for p in pages if not (root / p).exists()]
    text = summary(root, [p for p in pages if p not in made])
    if made:
        text += "\n# Folders\n\n" + "".join(f"- [{p.removesuffix('/README.md')}]({p})\n" for p in sorted(made))
    (out / "src/SUMMARY.md").write_text(text)
    (out / "book.toml").write_text(BOOK)


def targets(root, page):
    """What a page links to inside the repository."""
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", (root / page).read_text()):
        path = (root / page).parent.joinpath(urllib.parse.unquote(link)).resolve()
        if path.exists() and path.is_relative_to(root.resolve()):
            yield path.relative_to(root.resolve()).as_posix()


def folder_link(root, page, link):
    """A link to a folder as one to that folder's page, which mdBook calls index and not README."""
    path = (root / page).parent / link[1]
    goal = f"{link[1].rstrip('/')}/README.md" if path.is_dir() else link[1]
    goal = re.sub(r"(^|/)README[.]md$", r"\1index.md", goal)
    return f"]({goal}{link[2] or ''})"


class Page(HTMLParser):
    """The ids of a page and what it links to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"):
            self.ids.add(attrs["id"])
        link = attrs.get("href") if tag == "a" else attrs.get("src") if tag == "img" else None
        if link and not re.match(r"[a-z]+:", link):
            self.links.append(link)


def links(book):
    """Every link of the built book leads somewhere."""
    book = Path(book).resolve()
    pages = {path: Page(path.read_text()) for path in book.rglob("*.html") if path.name not in ("print.html", "toc.html", "404.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            to, _, anchor = link.partition("#")
            goal = (path.parent / urllib.parse.unquote(to)).resolve() if to else path
            if not goal.exists() or (anchor and goal in pages and urllib.parse.unquote(anchor) not in pages[goal].ids):
                dead.append(f"{path.relative_to(book)}: {link}")
    print(f"{len(pages)} pages, {sum(len(p.links) for p in pages.values())} links, {len(dead)} dead", file=sys.stderr)
    for line in dead:
        print(line, file=sys.stderr)
    if dead:
        sys.exit(1)


if __name__ == "__main__":
    {"sources": sources, "links": links}[sys.argv[1]](*sys.argv[2:])
