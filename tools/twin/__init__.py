"""The twin: a physics body, a room and people behind the same sensors as a robot."""
