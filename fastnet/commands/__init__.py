"""The sub-commands of ``fastnet``: a module each, with its options and what it does."""
