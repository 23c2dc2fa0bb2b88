"""The `archive` verb: thousands of files into one dataset of detections, on one machine or many."""
