"""What becomes of a `perceiver::Attention` on each target."""
