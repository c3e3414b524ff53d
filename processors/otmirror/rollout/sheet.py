"""A page of headings, texts and tables, as Markdown and as HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from otmirror.compare.page import head, table
from otmirror.errors import ConfigError


@dataclass(frozen=True)
class Table:
    """A table: its head, and rows of as many cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Sheet:
    """A page: its title, one line that says it all (`good`: green or red), and its parts: (heading or '', content)."""

    title: str
    verdict: str
    good: bool | None = None
    parts: list[tuple[str, str | Table]] = field(default_factory=list)

    def add(self, content: str | Table, heading: str = "") -> None:
        """Add a text or a table, under a heading of its own if one is given."""
        self.parts.append((heading, content))

    def markdown(self) -> str:
        """Return the page as Markdown."""
        lines = [f"# {self.title}", "", f"**{_md(self.verdict)}**", ""]
        for heading, content in self.parts:
            lines += [f"## {heading}", ""] if heading else []
            lines += [*(_rows(content) if isinstance(content, Table) else [_md(content)]), ""]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the page as one HTML document."""
        state = "" if self.good is None else " green" if self.good else " red"
        parts = [head(self.title), f"<h1>{escape(self.title)}</h1>", f"<p class='v{state}'>{escape(self.verdict)}</p>"]
        for heading, content in self.parts:
            parts += [f"<h2>{escape(heading)}</h2>"] if heading else []
            text = table(content.head, content.rows) if isinstance(content, Table) else f"<p>{escape(content)}</p>"
            parts.append(text)
        return "\n".join([*parts, "</html>", ""])

    def save(self, path: Path) -> None:
        """Write the page to a file: .html, or .md.

        Raises:
            ConfigError: it is neither, or cannot be written.
        """
        if path.suffix not in (".html", ".md"):
            raise ConfigError(f"--out {path}: has to end in .md or .html")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.html() if path.suffix == ".html" else self.markdown(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from None


def _rows(content: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_md(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [row(content.head), "|" + "---|" * len(content.head), *map(row, content.rows)]


def _md(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
