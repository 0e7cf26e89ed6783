"""aiohttp on a Unix socket: the admin's API."""
