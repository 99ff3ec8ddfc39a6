"""`companion calibrate`: record -> solve -> judge -> report -> install, one module per tool."""
