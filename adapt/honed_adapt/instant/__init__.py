"""The instant lane: two experts on the same rows, their mix, and a guard over them."""
