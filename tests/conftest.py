"""What holds for every test."""

from hypothesis import settings

# A deadline would judge the machine and not the code.
settings.register_profile("desk", deadline=None)
settings.load_profile("desk")
