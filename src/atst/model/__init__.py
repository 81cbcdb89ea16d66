"""Waveforms become log-mel, tokens and embeddings; models are loaded and saved."""
