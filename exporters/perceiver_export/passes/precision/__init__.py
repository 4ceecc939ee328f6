"""float32 to float16, bfloat16 and 8 bits."""
