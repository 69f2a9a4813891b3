"""Each context's what-ifs: a module here is a context, and `ops/replay/registry.py` walks the package."""
