"""From an image to boxes with OpenVINO, numpy and OpenCV alone.

Usage: python openvino_boxes.py best_openvino_model photo.jpg [annotated.jpg]
"""

import ast
import sys
from pathlib import Path

import cv2
import numpy as np
import openvino

CONF, IOU, MAX_DET = 0.25, 0.7, 1000

# The network, and the metadata of the file.
if len(sys.argv) not in {3, 4}:
    sys.exit(__doc__)
model_path, image_path, *annotated_path = sys.argv[1:]
core = openvino.Core()
model = core.read_model(next(Path(model_path).glob("*.xml")))
about = {
    key: model.get_rt_info(["yolo_ema", key]).astype(str) for key in ("names", "imgsz", "stride")
}
names = ast.literal_eval(about["names"])
height, width = ast.literal_eval(about["imgsz"])
# In float32, as the weights: OpenVINO chooses bfloat16 where the processor can, and then boxes
# differ slightly.
network = core.compile_model(
    model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
)

# Letterbox: scaled to fit, centred on grey. A file of dynamic size takes the smallest rectangle
# that holds the image.
image = cv2.imread(image_path)
if image is None:
    sys.exit(f"{image_path} is not an image that OpenCV can read")
scale = min(height / image.shape[0], width / image.shape[1])
inner_h, inner_w = (max(round(side * scale), 1) for side in image.shape[:2])
if model.input().partial_shape.is_dynamic:
    stride = int(about["stride"])
    height, width = (-(-side // stride) * stride for side in (inner_h, inner_w))
top, left = round((height - inner_h) / 2 - 0.1), round((width - inner_w) / 2 - 0.1)
canvas = np.full((height, width, 3), 114, np.uint8)
canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(image, (inner_w, inner_h))

# The network takes (1, 3, height, width), RGB in 0…1.
blob = cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)
answer = network(blob)[0][0]

# Rows x1, y1, x2, y2, score, class: as they come if the file has NMS built in, otherwise by NMS.
if answer.shape[-1] == 6:
    rows = answer[answer[:, 4] > CONF]
else:
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
