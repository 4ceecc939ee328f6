"""Numbers for heads of one's own: labels of tokens, windows over long texts and sounds, boxes, answers in texts."""
