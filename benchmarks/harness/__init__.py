"""What the benchmarks share: images, servers, load, turns, and the words for the machine."""
