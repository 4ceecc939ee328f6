"""The documentation as a site: every page in its contents, every link, nothing from another host, messages of the code."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))
BUILT = {"index.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "cards/index.md"}  # of files outside docs/


def contents() -> list[str]:
    """The pages that mkdocs.yml lists, in order."""
    (nav,) = re.findall(r"^nav:\n(.*)\Z", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found: list[str] = []

    def visit(entry: object) -> None:
        if isinstance(entry, str):
            found.append(entry)
        for each in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            visit(each)

    visit(yaml.safe_load(nav))
    return found


def test_every_page_is_in_the_contents_once() -> None:
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    listed = contents()
    assert len(listed) == len(set(listed))
    assert set(listed) - BUILT - {f"api/{name}.md" for name in ("runtime", "export", "models")} == pages


def test_every_link_leads_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        page = re.sub(r"^```.*?^```$|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", page):
            file, _, heading = target.partition("#")
            if "://" in file:
                continue
            linked = (path.parent / file) if file else path
            assert linked.exists(), (path.name, target)
            if heading:
                titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, (
                    path.name,
                    target,
                )


def test_messages_are_those_of_the_code() -> None:
    """What the page on troubleshooting quotes, somebody will search for."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    installing, _, rest = page.partition("## Installing")[2].partition("## Verification failed")
    running = rest.partition("## Running")[2].partition("## Still stuck")[0]
    quoted = re.findall(r"^\| `([^`]+)`", installing + running, re.MULTILINE)
    folders = ("runtime/perceiver_runtime", "perceiver_deploy", "models/perceiver_io", "exporters/perceiver_export")
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert len(quoted) >= 8
    assert [message for message in quoted if message.replace("CPUExecutionProvider", "{") not in code] == []


def test_links_and_hosts_are_checked(tmp_path: Path) -> None:
    import site_pages

    (tmp_path / "a.html").write_text('<h1 id="one">1</h1><a href="b.html#two">b</a><img src="https://host/x.png">')
    (tmp_path / "b.html").write_text('<a href="a.html#one">a</a><a href="c.html">c</a><script src="/s.js"></script>')
    assert sorted(site_pages.faults(tmp_path)) == [
        "a.html fetches https://host/x.png",
        "a.html links to b.html#two, which has no such heading",
        "b.html links to /s.js, which is not there",
        "b.html links to c.html, which is not there",
    ]


def test_the_site_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    import site_pages

    for name in ("docs", "tools", "mkdocs.yml", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("runtime", "models", "exporters", "perceiver_deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(site_pages, "ROOT", tmp_path)
    monkeypatch.setattr(site_pages, "PAGES", tmp_path / "build/pages")
    monkeypatch.setattr(site_pages, "SITE", tmp_path / "build/site")
    assert site_pages.main() == 0
    page = (tmp_path / "build/site/api/runtime.html").read_text(encoding="utf-8")
    assert "float32 (H, W, 2)" in page
    page = (tmp_path / "build/site/tasks/flow.html").read_text(encoding="utf-8")
    assert 'href="../performance.html">Performance</a>' in page  # where docs/tasks/flow.md says performance.md
