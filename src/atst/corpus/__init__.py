"""Unlabelled sound for pre-training: clips by index, read a stretch at a time."""

from atst.corpus.files import SILENCE, Corpus, FileCorpus, open_corpus

__all__ = ["SILENCE", "Corpus", "FileCorpus", "open_corpus"]
