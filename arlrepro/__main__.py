"""`python -m arlrepro`, as torchrun starts it."""

from arlrepro.cli import main

if __name__ == "__main__":
    main()
