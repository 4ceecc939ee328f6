"""How good a bundle is on somebody's data, and how far two are apart."""
