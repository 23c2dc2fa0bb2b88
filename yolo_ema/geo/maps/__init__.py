"""A flight's map as files: GeoJSON, GeoPackage, KML, CSV, a page."""
