"""The `perceiver` command: one module per subcommand, each with `add_parser` and a function that returns its result."""
