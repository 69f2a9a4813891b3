"""The tests mirror the tree: tests/domain/ shows domain/, and so on."""
