"""People's programs: the `companion` command, the twin, training, the page, reports."""
