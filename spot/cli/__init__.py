"""The command `spot`: one module per subcommand, thin over the packages below."""
