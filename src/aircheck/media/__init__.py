"""The vocabulary every room shares: packets, tracks, timelines and just enough bitstream."""
