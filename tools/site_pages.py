"""The documentation as a site: `python tools/site_pages.py` gathers pages, has Zensical build them, and checks every link.

Pages are README, docs/, the project's other texts, the checkpoints' cards, and an API reference of what each package exports. A
link to a file that is no page becomes plain text. The site works from a disk, without a network: a page that fetches
anything from another host fails the build.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
CARDS = "models/perceiver_io/checkpoints"
PACKAGES = {"runtime": "perceiver_runtime", "export": "perceiver_deploy", "models": "perceiver_io"}
_SHIM = re.compile(r'https?://[^"]*iframe-worker/shim')  # what the offline plugin lets pages fetch: search_from_disk.js does it
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")
_IMAGE = re.compile(r'(<img[^>]*\bsrc=")(?!\w+:)([^"]+)"')


def places() -> dict[Path, Path]:
    """Where each file of the repository stands among the pages."""
    found = {ROOT / "README.md": PAGES / "index.md"}
    found |= {ROOT / name: PAGES / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")}
    docs = ROOT / "docs"
    found |= {path: PAGES / path.relative_to(docs) for path in docs.rglob("*") if path.suffix in (".md", ".png", ".jpg")}
    return found | {path: PAGES / "cards" / f"{path.parent.name}.md" for path in (ROOT / CARDS).glob("*/README.md")}


def title(page: Path) -> str:
    """Its first heading."""
    return next(line[2:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))


def moved(text: str, source: Path, where: dict[Path, Path]) -> str:
    """Its links as they are among the pages; one whose text is a file's name says its title. Code stays as it is."""
    folder = where[source].parent

    def target(link: str) -> str | None:
        file, hash_, heading = link.partition("#")
        path = (source.parent / file).resolve() if file else source
        return f"{os.path.relpath(where[path], folder)}{hash_}{heading}" if path in where else None

    def link(found: re.Match[str]) -> str:
        place, words = target(found[3]), found[2]
        if place and re.fullmatch(r"[\w-]+\.md", words):
            words = title((source.parent / found[3].partition("#")[0]).resolve())
        return f"{found[1]}[{words}]({place})" if place else words

    def image(found: re.Match[str]) -> str:
        return f'{found[1]}{target(found[2])}"'

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 2 else _IMAGE.sub(image, _LINK.sub(link, part)) for index, part in enumerate(parts))


def reference(package: str) -> str:
    """A page of what a package exports, for mkdocstrings."""
    names = [name for name in importlib.import_module(package).__all__ if not name.startswith("__")]
    return f"# {package}\n\n" + "\n".join(f"::: {package}.{name}\n" for name in names)


def gather() -> None:
    """Write the pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    where = places()
    for source, page in where.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            page.write_text(moved(source.read_text(encoding="utf-8"), source, where), encoding="utf-8")
        else:
            shutil.copy(source, page)
    shutil.copy(ROOT / "tools" / "site.css", PAGES)
    cards = sorted(path.stem for path in (PAGES / "cards").glob("*.md"))
    index = "# Checkpoints that ship\n\nSmall, trained, measured on data that training never saw.\n\n"
    (PAGES / "cards" / "index.md").write_text(index + "".join(f"- [{name}]({name}.md)\n" for name in cards), encoding="utf-8")
    (PAGES / "api").mkdir()
    for name, package in PACKAGES.items():
        (PAGES / "api" / f"{name}.md").write_text(reference(package), encoding="utf-8")


def made_local() -> None:
    """Search from a disk without another host's script."""
    for path in SITE.rglob("*.html"):
        script = os.path.relpath(SITE / "search_from_disk.js", path.parent)
        path.write_text(_SHIM.sub(script, path.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(ROOT / "tools" / "search_from_disk.js", SITE)


class Page(HTMLParser):
    """What a page links to and loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Part of HTMLParser."""
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag in ("img", "script", "iframe", "source"):
            self.loads.append(values.get("src", ""))
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "modulepreload", "preconnect"):
            self.loads.append(values.get("href", ""))


def faults(site: Path) -> Iterator[str]:
    """What is wrong with a built site, a sentence each: links and pictures that lead nowhere, files from other hosts."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in page.loads:
            if re.match(r"\w+:|//", link) and not link.startswith("data:"):
                yield f"{name} fetches {link}"
        for link in [*page.links, *page.loads]:
            if not link or re.match(r"\w+:|//", link):
                continue
            file, _, anchor = link.partition("#")
            folder, file = (site, file[1:]) if file.startswith("/") else (path.parent, file)
            target = (folder / file.partition("?")[0]).resolve() if file else path
            if not target.exists():
                yield f"{name} links to {link}, which is not there"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{name} links to {link}, which has no such heading"


def main() -> int:
    """Gather, build, check."""
    gather()
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=True)
    made_local()
    found = sorted(set(faults(SITE)))
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{SITE / 'index.html'}: {len(list(SITE.rglob('*.html')))} pages, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
