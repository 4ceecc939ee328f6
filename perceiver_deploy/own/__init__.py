"""Models of one's own as bundles: kinds.py says what they take and give, head.py what follows, export_model.py does it."""
