"""The collector's benchmark: its data, its peers, and how they are measured."""
