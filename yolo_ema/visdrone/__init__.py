"""VisDrone2019-DET and datasets of its kind: annotation format, preparation, result files."""
