"""What is published is what the code says, and what was promised is kept."""

from ops.contracts import broken, differing


def test_no_stored_schema_is_broken() -> None:
    """Somebody may have recorded, or be sending, what it promises: a change that breaks it is a new version."""
    assert list(broken()) == []


def test_schemas_asyncapi_and_vectors_are_what_the_code_generates() -> None:
    """If this fails: spaceos contracts write."""
    assert differing() == []
