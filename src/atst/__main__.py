"""`python -m atst` is the command `atst`."""

from atst.cli import main

if __name__ == "__main__":
    main()
