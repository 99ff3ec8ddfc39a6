"""`companion model evaluate`: what a bundle can do, measured on the real stack in lockstep."""
