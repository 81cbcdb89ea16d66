"""Names of files and folders as text: they may hold anything."""


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: what is no UTF-8 in a name is spelt out."""
    return text.encode(errors="backslashreplace").decode()
