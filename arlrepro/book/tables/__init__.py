"""Tables of the pages: a Study in, a DataFrame with words for headers out; nothing is drawn."""
