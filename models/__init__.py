"""Arrays to arrays: graph specs, bundles, backends, networks, training, export. No clock, no robot."""
