"""The device that trains, and the watch over it."""
