"""One file a command, one function in it: its signature and docstring are the Python API, the command
line and the help page at once."""
