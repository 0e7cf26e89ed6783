"""Kills brokers and engines, again and again, and looks whether anything of anybody's is lost."""
