"""deskd and deskctl: parse, call, print."""
