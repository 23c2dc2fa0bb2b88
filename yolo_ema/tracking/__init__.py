"""What follows from identities: camera motion, trails, counts by line and zone, MOT files. numpy in, numpy out."""
