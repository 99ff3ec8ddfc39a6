"""The operator's page: what the robot sees, expects, does, and how to stop it."""
