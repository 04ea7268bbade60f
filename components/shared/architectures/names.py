"""What an architecture is called: a row of the zoo, or the URI of a `.keras` file."""

__all__ = ["is_user_model"]


def is_user_model(architecture: str) -> bool:
    """Returns whether `architecture` names a file and not a row of the zoo."""
    return "/" in architecture or "." in architecture
