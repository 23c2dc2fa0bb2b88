"""Tracking: identities, camera motion, trails, counts by line and zone. numpy in, numpy out."""
