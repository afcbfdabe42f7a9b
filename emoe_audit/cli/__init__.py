"""The command line: arguments in, objects built, one call, result printed. One file a family of commands."""
