"""Fields of single families' configs that `tiny.shrink` cannot know, by folder of transformers/models."""

OVERRIDES: dict[str, dict] = {}
