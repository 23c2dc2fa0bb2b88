"""VisDrone2019-DET: annotation format, preparation, ignored regions, the official protocol. numpy
in, numpy out.
"""
