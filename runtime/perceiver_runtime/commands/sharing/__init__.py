"""Commands for bundles that come from elsewhere or go there: `perceiver pull` and `perceiver sign`."""
