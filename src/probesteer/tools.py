"""Verbs around a study, which concern no job of it: what lies before it, and after."""

from collections.abc import Callable


def new_concept(name: str) -> None:
    """Write the skeleton of a concept of your own into resources/concepts."""
    from probesteer.concepts.concept import write_skeleton

    print(f"wrote {write_skeleton(name)}: fill it in, then `probesteer check --static --configfile STUDY`")


VERBS: list[Callable[..., None]] = [new_concept]
