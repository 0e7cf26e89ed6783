"""What Desk decides, without I/O, without a clock: the standard library alone."""
