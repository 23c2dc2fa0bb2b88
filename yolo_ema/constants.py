"""What several rooms share: VisDrone's classes, image suffixes, colours."""
