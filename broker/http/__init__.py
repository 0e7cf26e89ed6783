"""aiohttp on Unix sockets: the admin's API, and the broker's side of the Gateway."""
