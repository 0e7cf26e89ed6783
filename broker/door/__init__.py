"""The front door: what users reach. It knows the Gateway and nothing else of the broker."""
