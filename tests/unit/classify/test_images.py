"""Folders of classes and CIFAR's binary files: what is read, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from yolo_ema.classify import cifar
from yolo_ema.classify.images import ClassImages, open_images, read_rgb, transform_for
from yolo_ema.classify.recipes import RECIPES
from yolo_ema.errors import DataError, DataNotFoundError, OfflineError


def opened(data: object, split: str = "train", root: Path = Path("datasets")) -> ClassImages:
    return open_images(str(data), split, root=root, offline=True)


def test_a_folder_of_classes_is_read(classes_folder):
    (classes_folder / "train" / "dark" / "notes.txt").write_text("x")
    (classes_folder / "train" / "dark" / ".hidden.png").write_text("x")
    (classes_folder / "train" / "loose.png").write_text("x")
    images = opened(classes_folder)
    assert images.classes == ("dark", "light", "mid")
    assert images.labels == [0] * 8 + [1] * 8 + [2] * 8
    assert images.left_out == ("train/loose.png", "train/dark/notes.txt")
    images.transform = transform_for(RECIPES["cifar100-resnet50"], is_training=False)
    inputs, label = images[8]
    assert inputs.shape == (3, 32, 32)
    assert label == 1
    pixels = np.asarray(Image.open(classes_folder / "train/light/0.png"), np.float32) / 255
    expected = (pixels[:, :, 0] - 0.5071) / 0.2673
    torch.testing.assert_close(inputs[0], torch.from_numpy(expected))


def test_hidden_folders_are_left_out_and_linked_ones_are_read(classes_folder, tmp_path):
    before = opened(classes_folder)
    linked = tmp_path / "more"
    linked.mkdir()
    source = classes_folder / "train" / "dark" / "0.png"
    (linked / "extra.png").write_bytes(source.read_bytes())
    (classes_folder / "train" / "dark" / "more").symlink_to(linked)
    hidden = classes_folder / "train" / "dark" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "0-checkpoint.png").write_bytes(source.read_bytes())
    images = opened(classes_folder)
    assert len(images) == len(before) + 1
    assert images.left_out == before.left_out
    assert classes_folder / "train" / "dark" / "more" / "extra.png" in images.images


def test_tiffs_of_32_bits_are_refused_and_16_bits_are_scaled(tmp_path):
    for name, kind in (("wide.tif", np.int32), ("deep.tif", np.uint16)):
        Image.fromarray(np.full((8, 8), 2560, kind)).save(tmp_path / name)
    with pytest.raises(DataError, match="its pixels are 32-bit numbers"):
        read_rgb(tmp_path / "wide.tif")
    assert np.unique(read_rgb(tmp_path / "deep.tif")).tolist() == [10]


def test_images_are_recognised_by_their_hash(classes_folder):
    before = opened(classes_folder).facts()
    assert before == opened(classes_folder).facts()
    (classes_folder / "train/light/0.png").write_bytes(b"another")
    assert before["sha256"] != opened(classes_folder).facts()["sha256"]


@pytest.mark.parametrize("recipe", ["cifar100-resnet50", "imagenet-mobilenetv2"])
def test_random_changes_follow_from_seed_epoch_and_index_alone(classes_folder, recipe):
    def changed(seed: int, epoch: int) -> torch.Tensor:
        images = opened(classes_folder)
        images.transform = transform_for(
            dataclasses.replace(RECIPES[recipe], imgsz=32), is_training=True
        )
        images.seed, images.epoch = seed, epoch
        torch.rand(3)  # what was drawn before does not matter
        return torch.stack([images[index][0] for index in range(4)])

    state = torch.get_rng_state()
    first = changed(1, 2)
    torch.set_rng_state(state)
    torch.rand(3)
    assert torch.equal(torch.get_rng_state(), _after(lambda: changed(1, 2), state))
    assert torch.equal(first, changed(1, 2))
    assert not torch.equal(first, changed(1, 3))
    assert not torch.equal(first, changed(2, 2))


def _after(run, state: torch.Tensor) -> torch.Tensor:
    torch.set_rng_state(state)
    run()
    return torch.get_rng_state()


def test_test_is_used_where_there_is_no_val(classes_folder):
    before = opened(classes_folder, "val")
    (classes_folder / "val").rename(classes_folder / "test")
    after = opened(classes_folder, "val")
    assert [path.name for path in after.images] == [path.name for path in before.images]
    assert {path.parts[-3] for path in after.images} == {"test"}
    (classes_folder / "val").mkdir()  # then it is val that counts, and is wrong
    with pytest.raises(DataError, match="0 class folders"):
        opened(classes_folder, "val")


def test_small_images_of_one_size_are_kept_and_are_the_same(classes_folder):
    images = opened(classes_folder)
    images.transform, images.seed = transform_for(RECIPES["cifar10-resnet8"], is_training=True), 1
    read = torch.stack([images[index][0] for index in range(len(images))])
    images.keep_in_memory()
    assert isinstance(images.images, np.ndarray)
    assert torch.equal(read, torch.stack([images[index][0] for index in range(len(images))]))
    Image.new("RGB", (40, 32)).save(classes_folder / "train" / "mid" / "0.png")
    mixed = opened(classes_folder)
    mixed.keep_in_memory()
    assert not isinstance(mixed.images, np.ndarray)


@pytest.mark.parametrize("side", [32, 40, 24])
@pytest.mark.parametrize("is_training", [True, False])
def test_the_plain_transform_is_torchvisions_to_the_last_bit(side, is_training):
    transforms = pytest.importorskip("torchvision.transforms")
    recipe = dataclasses.replace(RECIPES["cifar100-resnet50"], imgsz=side)
    change = [transforms.RandomCrop(side, padding=side // 8), transforms.RandomHorizontalFlip()]
    theirs = transforms.Compose(
        [
            transforms.Resize((side, side)),
            *(change if is_training else []),
            transforms.ToTensor(),
            transforms.Normalize(recipe.mean, recipe.std),
        ]
    )
    ours = transform_for(recipe, is_training=is_training)
    numbers = np.random.default_rng(0)
    for seed in range(8):
        image = Image.fromarray(numbers.integers(0, 256, (32, 36, 3), np.uint8))
        torch.manual_seed(seed)
        expected, state = theirs(image), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)
        assert torch.equal(torch.get_rng_state(), state)


def _empty(folder: Path) -> None:
    for path in (folder / "val" / "mid").iterdir():
        path.unlink()


def _add_class(folder: Path) -> None:
    (folder / "val" / "odd").mkdir()


def _drop_class(folder: Path) -> None:
    (folder / "val" / "mid").rename(folder / "mid")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_empty, r"the class folder .*mid has no image"),
        (_add_class, r"val has classes that train lacks \(odd\); both must have the same"),
        (_drop_class, r"train has classes that val lacks \(mid\)"),
    ],
)
def test_an_unsuitable_folder_is_refused(classes_folder, spoil, message):
    spoil(classes_folder)
    with pytest.raises(DataError, match=message):
        opened(classes_folder, "val")


def test_a_path_that_is_not_a_dataset_is_reported(tmp_path):
    with pytest.raises(DataNotFoundError, match="there is no folder nowhere"):
        opened("nowhere")
    with pytest.raises(DataNotFoundError, match="expected train/CLASS/IMAGE"):
        opened(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"no folder cifar-100; .* did you mean 'cifar100'"):
        opened("cifar-100")
    (tmp_path / "set.tar.xz").touch()
    with pytest.raises(DataNotFoundError, match=r"is a file, not a folder \(an archive has to be"):
        opened(tmp_path / "set.tar.xz")
    (tmp_path / "train" / "one").mkdir(parents=True)
    with pytest.raises(DataError, match="has 1 class folders; expected two or more"):
        opened(tmp_path)


def test_an_image_that_cannot_be_read_is_named(classes_folder):
    path = classes_folder / "train" / "dark" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    images = opened(classes_folder)
    images.transform = transform_for(RECIPES["cifar100-resnet50"], is_training=False)
    with pytest.raises(DataError, match=r"dark/0\.png cannot be read"):
        images[0]


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    deep = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = read_rgb(tmp_path / "deep.png")
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), np.repeat((deep >> 8)[:, :, None], 3, axis=2))
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match="cannot be read: its pixels are floating point numbers"):
        read_rgb(tmp_path / "float.tiff")


def binary_files(labels: int, count: int = 5) -> dict[str, bytes]:
    """Return small files in CIFAR's form, of images whose pixels tell their place."""
    numbers = np.random.default_rng(labels)
    records = numbers.integers(0, 256, (count, labels + 3072), np.uint8)
    records[:, labels - 1] = np.arange(count) % 3
    names = b"apple\nbear\ncar\n\n"
    if labels == 2:
        content = dict.fromkeys(("train.bin", "test.bin"), records.tobytes())
        return {**content, "fine_label_names.txt": names}
    files = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return {**dict.fromkeys(files, records.tobytes()), "batches.meta.txt": names}


@pytest.mark.parametrize("labels", [1, 2])
def test_binary_files_are_read_as_the_format_specifies(tmp_path, labels):
    files = binary_files(labels)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    images = opened(tmp_path)
    batches = 5 if labels == 1 else 1
    assert images.classes == ("apple", "bear", "car")
    assert images.labels == [0, 1, 2, 0, 1] * batches
    record = files["test_batch.bin" if labels == 1 else "test.bin"][labels + 3072 :]
    for row, column, channel in ((0, 0, 0), (3, 7, 1), (31, 31, 2)):
        at = labels + channel * 1024 + row * 32 + column
        assert images.images[1][row, column, channel] == record[at]


def test_broken_binary_files_are_refused(tmp_path):
    files = binary_files(2)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train.bin").write_bytes(files["train.bin"][:-1])
    with pytest.raises(DataError, match="expected a multiple of 3074"):
        opened(tmp_path)
    beyond = bytearray(files["train.bin"])
    beyond[3074 + 1] = 3
    (tmp_path / "train.bin").write_bytes(beyond)
    with pytest.raises(DataError, match=r"record 1 of train\.bin has the label 3; expected 0 to 2"):
        opened(tmp_path)
    (tmp_path / "fine_label_names.txt").write_text("\n")
    with pytest.raises(DataError, match=r"fine_label_names\.txt names no class"):
        opened(tmp_path)
    (tmp_path / "test.bin").unlink()
    with pytest.raises(DataNotFoundError, match=r"test\.bin is missing"):
        opened(tmp_path, "val")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a small archive in place of CIFAR-100's; return how often it was asked for."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in binary_files(2).items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    body, asked = packed.getvalue(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/cifar-100-binary.tar.gz"
    form = dataclasses.replace(
        cifar.CIFAR["cifar100"], url=url, sha256=hashlib.sha256(body).hexdigest()
    )
    monkeypatch.setitem(cifar.CIFAR, "cifar100", form)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_cifar_is_fetched_once_after_an_announcement(served, tmp_path, capsys):
    with pytest.raises(OfflineError, match=r"--offline forbids it; put the file at .*cifar100"):
        opened("cifar100", root=tmp_path)
    assert served == []
    images = open_images("cifar100", "train", root=tmp_path, offline=False)
    assert images.labels == [0, 1, 2, 0, 1]
    said = capsys.readouterr().err
    assert "CIFAR-100, 168.5 MB" in said
    assert "state no licence" in said
    assert opened("cifar100", "val", root=tmp_path).labels == images.labels
    assert len(served) == 1


def test_an_archive_other_than_the_published_one_is_refused(served, tmp_path, monkeypatch):
    other = dataclasses.replace(cifar.CIFAR["cifar100"], sha256="0" * 64)
    monkeypatch.setitem(cifar.CIFAR, "cifar100", other)
    with pytest.raises(DataError, match="expected 0000"):
        open_images("cifar100", "train", root=tmp_path, offline=False)
    archive = tmp_path / "cifar100" / "cifar-100-binary.tar.gz"
    assert not archive.exists()
    archive.write_bytes(b"something else")
    with pytest.raises(DataError, match="remove it, and it is fetched again"):
        opened("cifar100", root=tmp_path)
