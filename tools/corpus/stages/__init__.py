"""The stages of tools/corpus: download, extract, align, filter, deduplicate and split."""
