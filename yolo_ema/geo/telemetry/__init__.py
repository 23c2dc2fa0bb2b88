"""Where the camera was: readers of what drones and ground stations write, one result for all."""
