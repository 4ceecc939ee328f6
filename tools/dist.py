"""Wheels and source archives of both distributions, checked by twine and installed into an environment of their own.

    python tools/dist.py [--output dist] [--home-url https://HOST/OWNER/PROJECT]

Built from what git has committed. With a home URL, links and pictures of the READMEs are made absolute, for a package index
shows no relative ones, and the projects name that URL.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECTS = {"runtime": ["perceiver", "--version"], ".": ["perceiver-export", "--version"]}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")
_IMAGE = re.compile(r'(<img[^>]*\bsrc=")(?!https?:)([^"]+)"')


def absolute(text: str, home: str, folder: str) -> str:
    """A README with its relative links on `home`: pictures as raw files, others as pages."""
    base = f"{folder.strip('./')}/".lstrip("/")

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found[1] else "blob"
        return f"{found[1]}[{found[2]}]({home}/{kind}/main/{base}{found[3]})"

    return _IMAGE.sub(rf'\1{home}/raw/main/{base}\2"', _LINK.sub(link, text))


def source(folder: Path, home: str | None) -> None:
    """The committed files, in `folder`."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    for project in PROJECTS if home else ():
        readme, description = folder / project / "README.md", folder / project / "pyproject.toml"
        readme.write_text(absolute(readme.read_text(encoding="utf-8"), home or "", project), encoding="utf-8")
        urls = f'\n[project.urls]\nHomepage = "{home}"\nChangelog = "{home}/blob/main/CHANGELOG.md"\n'
        description.write_text(description.read_text(encoding="utf-8") + urls, encoding="utf-8")


def main() -> None:
    """Build, check, install, ask for the versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--home-url", type=lambda url: url.rstrip("/"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source(folder / "source", arguments.home_url)
        venv.create(folder / "tools", with_pip=True)
        tools = folder / "tools" / "bin"
        subprocess.run([tools / "pip", "install", "--quiet", "build", "twine"], check=True)
        for project in PROJECTS:
            build = [tools / "pyproject-build", "--outdir", arguments.output.absolute(), folder / "source" / project]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        made = sorted(arguments.output.iterdir())
        subprocess.run([tools / "twine", "check", "--strict", *made], check=True)
        venv.create(folder / "user", with_pip=True, system_site_packages=False)
        user = folder / "user" / "bin"
        wheels = [path for path in made if path.suffix == ".whl"]
        constraints = str(ROOT / "constraints.txt")
        subprocess.run([user / "pip", "install", "--quiet", "--constraint", constraints, *wheels], check=True)
        for command in PROJECTS.values():
            subprocess.run([user / command[0], *command[1:]], check=True)
    print("\n".join(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB" for path in made), file=sys.stderr)


if __name__ == "__main__":
    main()
