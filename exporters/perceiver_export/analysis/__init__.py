"""What a graph costs: shapes of its attentions, operations and bytes moved, memory. Nothing here changes a graph."""
