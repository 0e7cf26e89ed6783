"""Sessions, allocation, reconciling: the only writers of state."""
