"""Detection metrics, numpy in and out: VisDrone's and COCO's, matching, operating points."""
