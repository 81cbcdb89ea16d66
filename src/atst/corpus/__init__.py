"""Unlabelled sound for pre-training: clips by index, read a stretch at a time."""

from atst.corpus.clips import Corpus
from atst.corpus.files import FileCorpus
from atst.corpus.packed import PackedCorpus
from atst.corpus.sources import Subset, open_corpus

__all__ = ["Corpus", "FileCorpus", "PackedCorpus", "Subset", "open_corpus"]
