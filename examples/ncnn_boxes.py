"""From an image to boxes with ncnn, numpy, OpenCV and PyYAML.

Usage: python ncnn_boxes.py best_ncnn_model photo.jpg [annotated.jpg]
"""

import sys
from pathlib import Path

import cv2
import ncnn
import numpy as np
import yaml

CONF, IOU, MAX_DET = 0.25, 0.7, 1000

# The network, and the metadata of the file.
if len(sys.argv) not in {3, 4}:
    sys.exit(__doc__)
model_path, image_path, *annotated_path = sys.argv[1:]
about = yaml.safe_load((Path(model_path) / "metadata.yaml").read_text(encoding="utf-8"))
names, (height, width) = about["names"], about["imgsz"]
network = ncnn.Net()
network.load_param(str(Path(model_path) / "model.ncnn.param"))
network.load_model(str(Path(model_path) / "model.ncnn.bin"))

# Letterbox: scaled to fit, centred on grey.
image = cv2.imread(image_path)
if image is None:
    sys.exit(f"{image_path} is not an image that OpenCV can read")
scale = min(height / image.shape[0], width / image.shape[1])
inner_h, inner_w = (max(round(side * scale), 1) for side in image.shape[:2])
top, left = round((height - inner_h) / 2 - 0.1), round((width - inner_w) / 2 - 0.1)
canvas = np.full((height, width, 3), 114, np.uint8)
canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(image, (inner_w, inner_h))

# The network takes (3, height, width), RGB in 0…1, and answers (4 + classes, candidates).
blob = cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)
with network.create_extractor() as extractor:
    extractor.input(network.input_names()[0], ncnn.Mat(blob[0]))
    answer = np.array(extractor.extract(network.output_names()[0])[1])

# Rows x1, y1, x2, y2, score, class: NMS among all candidates.
scores, ids = answer[4:].max(axis=0), answer[4:].argmax(axis=0)
x1, y1 = answer[0] - answer[2] / 2, answer[1] - answer[3] / 2
boxes_ltwh = np.stack([x1, y1, answer[2], answer[3]], axis=1)
strong = scores > CONF
kept = cv2.dnn.NMSBoxesBatched(boxes_ltwh[strong], scores[strong], ids[strong], CONF, IOU)
rows = np.stack([x1, y1, x1 + answer[2], y1 + answer[3], scores, ids], axis=1)[strong][
    np.array(kept, int)
]
rows = rows[np.argsort(-rows[:, 4], kind="stable")][:MAX_DET]

# Back to the image's own pixels.
rows[:, [0, 2]] = ((rows[:, [0, 2]] - left) * image.shape[1] / inner_w).clip(0, image.shape[1])
rows[:, [1, 3]] = ((rows[:, [1, 3]] - top) * image.shape[0] / inner_h).clip(0, image.shape[0])

for *corners, score, class_id in rows:
    print(f"{names[int(class_id)]} {score:.4f}", *(f"{value:.3f}" for value in corners))
    cv2.rectangle(
        image, *np.array(corners).round().astype(int).reshape(2, 2).tolist(), (0, 160, 255), 2
    )
if annotated_path:
    cv2.imwrite(annotated_path[0], image)
