"""What pictures of other depths need: PNG of 16 bits a channel, flow in it, and which value is white."""
