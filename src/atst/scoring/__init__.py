"""What a probe and a fine-tuning share: metrics, calibration, splits, the report by class."""
