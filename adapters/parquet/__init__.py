"""Signed events as Parquet, to take away: a folder of files with a manifest, and SQL on it that can do nothing but read."""

from adapters.parquet.duck import NameIsPattern
from adapters.parquet.manifest import ExportDamaged, Manifest, NotExportable, read_manifest
from adapters.parquet.opened import Answer, Opened, QueryFailed, QueryRefused, open_export
from adapters.parquet.writing import FolderTaken, Writer

__all__ = [
    "Answer",
    "ExportDamaged",
    "FolderTaken",
    "Manifest",
    "NameIsPattern",
    "NotExportable",
    "Opened",
    "QueryFailed",
    "QueryRefused",
    "Writer",
    "open_export",
    "read_manifest",
]
