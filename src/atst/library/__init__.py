"""A sound library's embeddings, as `atst embed` writes them: find, compare and label recordings by them."""
