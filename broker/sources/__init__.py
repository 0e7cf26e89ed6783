"""Outside sources of passwords: one module for each kind, behind one protocol."""
