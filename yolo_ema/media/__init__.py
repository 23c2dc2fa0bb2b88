"""Media: sources of frames, sinks for detections, drawing, the live page. numpy in, numpy out."""
