"""Virtual time: the same cluster, unchanged, on a loop whose clock jumps from one timer to the next."""
