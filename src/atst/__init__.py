"""Self-supervised audio representation learning with ATST."""

__version__ = "0.1.0"
