"""The part of a model card that says how to predict, which differs by the form in which the model leaves."""

from __future__ import annotations

__all__ = ["CARD", "USAGE_HEADING", "with_usage"]

CARD = "README.md"
"""Name of the file of a model card."""

USAGE_HEADING = "## How to predict"


def with_usage(card: str, library: str, usage: str) -> str:
    """Return a card for the same model in the form of another library.

    Args:
        card: What ``model_card`` returned, whatever a user has added to it.
        library: What the hub calls the library.
        usage: How to predict with it, in Markdown.
    """
    lines, places = card.split("\n"), (i for i, line in enumerate(card.split("\n")) if line.startswith("library_name:"))
    if (place := next(places, None)) is not None:
        lines[place] = f'library_name: "{library}"'
    text = "\n".join(lines)
    before, heading, after = text.partition(f"\n{USAGE_HEADING}\n")
    if not heading:
        return f"{text.rstrip()}\n\n{USAGE_HEADING}\n\n{usage}\n"
    _, further, rest = after.partition("\n## ")
    return f"{before}{heading}\n{usage}\n{further}{rest}"
