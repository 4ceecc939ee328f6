"""Which layers are in 8 bits, decided on a checkpoint's own answers: ranges of activations, accuracy, what to give back."""
