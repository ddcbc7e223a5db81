"""Pages of the site that stand elsewhere in the repository, and links to what is no page of it."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"options.md": "config/README.md", "cluster.md": "profiles/README.md"}


def on_files(files, config):
    """Add the pages."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links at the pages as the site has them."""
    for name, source in ELSEWHERE.items():
        markdown = markdown.replace(f"](../{source})", f"]({name})")
    return markdown.replace("](../docs/", "](")
