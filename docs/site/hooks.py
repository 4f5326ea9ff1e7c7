"""What MkDocs does for `make docs` beyond `mkdocs.yml`: files keep their places in the repository, notebooks are pages.

A link between two documents is then the same on the site as in the repository, and the start page is README.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from pymdownx.slugs import slugify

ROOT: Final = Path(__file__).resolve().parents[2]
BESIDE: Final = ("*.md", "CITATION.cff", "LICENSE", "specs/*.md", "benchmarks/*.md")
"""What the site shows beside docs/."""
UNSEEN: Final = (".py", ".toml")
"""Files of docs/ that the site leaves out."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as code hosts do, so that an anchor is the same on both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Give every file the place that it has in the repository, and add those beside docs/."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
        if not file.src_uri.endswith(UNSEEN):
            files.append(File.generated(config, f"docs/{file.src_uri}", abs_src_path=file.abs_src_path))
    for path in (path for pattern in BESIDE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    for path in ROOT.glob("examples/*.ipynb"):
        for name, content in _parts(path):
            files.append(File.generated(config, f"examples/{name}", content=content))
    return files


def _parts(notebook: Path) -> Iterator[tuple[str, str | bytes]]:
    """A notebook, as it is stored, as a page and its pictures."""
    resources: dict[str, Any] = {"unique_key": notebook.stem, "output_files_dir": notebook.stem}
    page, found = MarkdownExporter().from_filename(str(notebook), resources=resources)
    yield f"{notebook.stem}.md", page
    yield from found["outputs"].items()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks lead to their pages."""
    return markdown.replace(".ipynb)", ".md)")
