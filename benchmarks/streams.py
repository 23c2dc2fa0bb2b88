"""How streams behave when their servers do not: outages, silence, frozen images; and our reader of
motion JPEG beside FFmpeg's.

    python benchmarks/streams.py [--cycles 20] [--outage 4] [--rtsp] [--json]

Servers and clock are local. Every image carries its number, so that one that was never sent would
be noticed. With the default settings of `NetworkOptions`. The table is Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import misbehaving_servers as servers

from yolo_ema.errors import SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.addresses import parse_address
from yolo_ema.media.sources.av_stream import AvConnection
from yolo_ema.media.sources.http_stream import HttpConnection
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceEvent, SourceReader


def first(reader: SourceReader, enough) -> tuple[float, list[SourceEvent]]:
    """Return how long it took until an event satisfied ``enough``, and all events up to it."""
    began, seen = time.monotonic(), []
    for event in reader:
        seen.append(event)
        if enough(event):
            return time.monotonic() - began, seen
    raise RuntimeError(f"it never came: {seen[-1].problem}")


def outages(server, cycles: int, outage_s: float) -> dict:
    """Take a server down and up again, and time how long the first new frame takes each time."""
    recovered, came = [], []
    with SourceReader(open_sources([server.url()])) as reader:
        came += first(reader, lambda event: event.frame is not None)[1]
        for _ in range(cycles):
            server.down()
            threading.Timer(outage_s, server.up).start()
            began = time.monotonic()
            came += first(
                reader, lambda event: event.frame is not None and "is back after" in event.problem
            )[1]
            recovered.append(time.monotonic() - began - outage_s)
            came += first(reader, lambda event: event.frame is not None)[1]
    numbers = [
        servers.number_of(event.frame.image_bgr) for event in came if event.frame is not None
    ]
    invented = (
        set(numbers) - set(server.sent)
        if isinstance(server, servers.HttpServer)
        else {one for one in numbers if one >= 1500}
    )
    return {
        "outages": cycles,
        "recovered within 2 s": sum(one < 2 for one in recovered),
        "median s": statistics.median(recovered),
        "longest s": max(recovered),
        "frames never sent": len(invented),
    }


def silence() -> dict:
    """Time how long we wait for a server that never answers, while another source continues."""
    with (
        servers.HttpServer(servers.never_answers) as mute,
        servers.HttpServer(servers.plays()) as good,
    ):
        alone = frames_in(SourceReader(open_sources([good.url()])), 3)
        with SourceReader(open_sources([mute.url(), good.url()])) as reader:
            given_up, seen = first(reader, lambda event: event.problem != "")
    beside = sum(event.frame is not None for event in seen) / given_up
    return {
        "given up after s": given_up,
        "frames/s of another source meanwhile": beside,
        "frames/s of it alone": alone / 3,
    }


def frames_in(reader: SourceReader, seconds: float) -> int:
    with reader:
        threading.Timer(seconds, reader.stop).start()
        return sum(event.frame is not None for event in reader)


def frozen() -> dict:
    with (
        servers.HttpServer(servers.freezes(after=25)) as server,
        SourceReader(open_sources([server.url()])) as reader,
    ):
        first(reader, lambda event: "stale" in event.problem)
        return {"flagged after s": time.monotonic() - server.sent[25]}


def stopping() -> dict:
    taken = []
    for behaviour in (servers.plays(), servers.never_answers, servers.says_nothing_more):
        with servers.HttpServer(behaviour) as server:
            reader = SourceReader(
                open_sources(
                    [server.url()], network=NetworkOptions(open_timeout_s=60, read_timeout_s=60)
                )
            )
            with reader:
                stop = threading.Timer(0.5, reader.stop)
                stop.start()
                list(reader)
                began = time.monotonic()
            taken.append(time.monotonic() - began)
    return {"longest s to leave": max(taken)}


def readers(images: int = 300) -> dict:
    """Read the same motion JPEG with our reader and with FFmpeg's: the first image, processor
    time, and what damage does.
    """
    found = {}
    for name, kind in (("ours", HttpConnection), ("FFmpeg", AvConnection)):
        with servers.HttpServer(full_hd) as server:
            connection = kind(parse_address(server.url()), NetworkOptions(open_timeout_s=20))
            began, cpu_s = time.monotonic(), 0.0
            connection.open()
            for count, _ in enumerate(connection.frames(), start=1):
                if count == 1:
                    found[f"{name}: first image s"] = time.monotonic() - began
                    cpu_s = time.thread_time()
                if count == images:
                    break
            found[f"{name}: ms of one thread an image"] = (
                (time.thread_time() - cpu_s) / (images - 1) * 1000
            )
            connection.close()
        for flaw in ("wrong length", "between", "broken off"):
            found[f"{name}: {flaw}, images of 54"], found[f"{name}: {flaw}, halves passed on"] = (
                flawed(kind, flaw)
            )
    return found


def flawed(kind, flaw: str) -> tuple[int, int]:
    """Read sixty images of which every tenth is spoiled: how many of the others came, and how
    many of the spoiled ones.
    """

    def behave(_: servers.HttpServer, line, __: str) -> None:
        servers.begin(line)
        for number in range(60):
            content, length = servers.jpeg(number), len(servers.jpeg(number))
            if number % 10 == 5:
                length -= 20 * (flaw == "wrong length")
                content = content[: len(content) // 2] if flaw == "broken off" else content
                line.sendall(b"what is this?\r\n" if flaw == "between" else b"")
            told = b"" if flaw == "broken off" else b"Content-Length: %d\r\n" % length
            line.sendall(b"--frame\r\nContent-Type: image/jpeg\r\n%s\r\n%s\r\n" % (told, content))
            time.sleep(0.01)

    whole, spoiled = set(), 0
    with servers.HttpServer(behave) as server, contextlib.suppress(SourceError):
        connection = kind(parse_address(server.url()), NetworkOptions())
        connection.open()
        for image, _ in connection.frames():
            try:
                number = servers.number_of(image)
            except ValueError:
                number = 5
            whole |= {number} if number % 10 != 5 else set()
            spoiled += number % 10 == 5 and flaw == "broken off"
    return len(whole), spoiled


def full_hd(server: servers.HttpServer, line, _: str) -> None:
    servers.begin(line)
    contents = [servers.jpeg(number, (1920, 1080)) for number in range(8)]
    for number in range(1 << 14):
        content = contents[number % 8]
        line.sendall(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
            % (len(content), content)
        )
        time.sleep(1 / 30)


def over_rtsp(cycles: int, outage_s: float) -> dict:
    if reason := servers.why_no_rtsp():
        return {"not run": reason}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, frame_rate=Fraction(25), image_wh=(160, 120)) as writer:
            for number in range(1500):
                writer.write(servers.numbered(number))
        line = (
            f"( filesrc location={path} ! qtdemux ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        with servers.RtspServer(line) as server:
            return outages(server, cycles, outage_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--outage", type=float, default=4.0, metavar="SECONDS")
    parser.add_argument("--rtsp", action="store_true", help="the outages over RTSP too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["no_proxy"] = "*"
    with servers.HttpServer(servers.plays(0.02)) as server:
        found = {
            f"server down for {arguments.outage:g} s": outages(
                server, arguments.cycles, arguments.outage
            )
        }
    if arguments.rtsp:
        found[f"RTSP server down for {arguments.outage:g} s"] = over_rtsp(
            arguments.cycles, arguments.outage
        )
    found |= {
        "accepts, never answers": silence(),
        "frozen": frozen(),
        "stopping": stopping(),
        "motion JPEG 1080p": readers(),
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print("| what | measured | |\n| --- | --- | --: |")
    for what, figures in found.items():
        for name, value in figures.items():
            print(f"| {what} | {name} | {f'{value:.2f}' if isinstance(value, float) else value} |")


if __name__ == "__main__":
    main()
