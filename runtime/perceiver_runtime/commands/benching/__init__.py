"""`perceiver bench` under load: several calls at once, in threads and processes."""
