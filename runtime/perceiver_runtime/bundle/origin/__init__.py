"""Where a bundle comes from: the hub, pinned sums, signatures and their keys."""
