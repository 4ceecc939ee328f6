"""What export knows of each task: its recipe (cases, reference, known answer) and how checkpoints' processor files are read."""
