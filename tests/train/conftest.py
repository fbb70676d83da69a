"""Property tests of training run untimed: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None, derandomize=True)
settings.load_profile("untimed")
