"""What LinearNexus computed at a commit, kept so that a redesign can show that it computes the same; see `__main__`."""
