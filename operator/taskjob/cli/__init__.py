"""The `taskjob` command. Each subcommand is a module with a function `register`; `command.SUBCOMMANDS` lists them."""
