"""The only package that knows the time: channels, controller, perception, mind, gate, supervision."""
