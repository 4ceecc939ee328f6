"""What the models are made of: attention, encoder, decoders, positions, and what stands before and after them."""
