"""From boxes to the map: where the camera was, and where on the ground its pixels lie."""
