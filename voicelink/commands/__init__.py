"""The subcommands: one module a group, each with `register(app)`. Heavy imports lie inside the functions."""
