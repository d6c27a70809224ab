"""The whole path: real daemons on the loopback address, used through the command."""
