"""Rewrites that keep the values up to rounding: what is computed once is stored, what is thrown away is not computed."""
