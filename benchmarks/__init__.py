"""Speed and memory, each against the plain way of doing the same. ``make bench`` runs all."""
