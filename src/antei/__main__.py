"""`python -m antei` is the command `antei`."""

from antei.cli import main

if __name__ == "__main__":
    main()
