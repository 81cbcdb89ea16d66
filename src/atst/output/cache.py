"""Where files are kept that can be made again."""

import os
from pathlib import Path

import platformdirs

from atst.errors import UsageError


def cache_folder() -> Path:
    """`ATST_CACHE`, else `atst` in the user's folder for caches. Raises `UsageError` without a home."""
    if named := os.environ.get("ATST_CACHE"):
        return Path(named)
    try:
        return platformdirs.user_cache_path("atst").expanduser()  # older releases leave a ~ without a home
    except RuntimeError as error:
        raise UsageError("this user has no home folder: set ATST_CACHE, or give --no-cache.") from error
