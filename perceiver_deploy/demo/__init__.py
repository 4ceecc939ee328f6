"""Every task on the checkpoints that ship: a page of text, and pictures. `make demo` runs it."""
