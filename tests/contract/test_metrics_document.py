"""docs/metrics.md is made of the code."""

from otmirror.exporter.document import document
from otmirror.workspace import PROJECT


def test_the_document_is_current():
    assert (PROJECT / "docs" / "metrics.md").read_text() == document(), "run `otmirror metrics document`"
