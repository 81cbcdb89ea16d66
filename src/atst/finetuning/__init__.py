"""Fine-tuning: an encoder and a linear head trained on labelled clips."""
