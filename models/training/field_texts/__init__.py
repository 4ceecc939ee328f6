"""Texts with labelled fields, generated: values of each kind, templates that hold them, WordNet's words and glosses around them."""
