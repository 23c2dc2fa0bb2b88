"""Detection metrics: VisDrone's official protocol, COCO's, matching and operating points. numpy in,
numpy out.
"""
