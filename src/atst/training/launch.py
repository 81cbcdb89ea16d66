"""Which process of a training this is."""

import os


def is_first_process() -> bool:
    """Whether this is the one process, or the first of several that train together."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
