"""Everything that only the pages show; needs the `book` extra."""
