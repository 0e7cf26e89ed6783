"""The SSH front door under stock clients, with a real sshd as the inner end."""
