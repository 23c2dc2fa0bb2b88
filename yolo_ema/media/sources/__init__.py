"""Sources of frames: images, videos, cameras and network streams."""
