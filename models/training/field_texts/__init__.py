"""Texts with labelled fields, generated: values in many formats, in templates and in WordNet's glosses."""
