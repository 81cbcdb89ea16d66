"""CITATION.cff names this release."""

from pathlib import Path

import yaml

import atst


def test_the_citation_has_the_version_and_the_paper():
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == atst.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "arXiv:2204.12076"
