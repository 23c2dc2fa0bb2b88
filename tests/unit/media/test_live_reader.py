"""A live source's two threads, with connections that do exactly what a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from played_sources import QUICK, Played, endless, forever, image, source

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.media.sources import live_reader
from yolo_ema.media.sources.frame_selection import FrameSelection
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.source import SourceEvent
from yolo_ema.media.sources.source_reader import SourceReader


def events_until(
    reader: SourceReader, enough: Callable[[SourceEvent], bool], limit_s: float = 20
) -> list[SourceEvent]:
    """Return all events up to the first one that is enough."""
    until, seen = time.monotonic() + limit_s, []
    timer = threading.Timer(limit_s, reader.stop)
    timer.daemon = True
    timer.start()
    try:
        for event in reader:
            seen.append(event)
            if enough(event):
                return seen
        assert time.monotonic() < until, (
            f"never came; seen: {[(one.ended, one.problem) for one in seen][-20:]}"
        )
        return seen
    finally:
        timer.cancel()


def test_frames_are_numbered_and_timed_by_arrival():
    with SourceReader(
        [source(Played([image(0), 0.2, image(1), 0.1, image(2), forever]))]
    ) as reader:
        frames = [
            one.frame
            for one in events_until(
                reader, lambda event: event.frame is not None and event.frame.index == 2
            )
            if one.frame
        ]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].time_s == 0
    assert frames[1].time_s >= 0.2
    assert frames[2].time_s >= frames[1].time_s + 0.1
    assert frames[0].source == "cam"


def test_it_reconnects_and_time_continues():
    lost = SourceError("cam broke off: line cut")
    first, second = Played([image(0), image(1), lost]), Played([0.05, image(2), forever])
    with SourceReader([source(first, second)], every_frame=True) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.index == 2
        )
        status = reader.status()[0]
    frames = [one.frame for one in seen if one.frame]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(a.time_s < b.time_s for a, b in pairwise(frames))
    assert [one.problem for one in seen if one.frame is None] == [
        "cam broke off: line cut; trying again"
    ]
    assert seen[-1].problem.startswith("cam is back after ")
    assert (status.state, status.reconnects, status.frames_read, status.frames_dropped) == (
        "live",
        1,
        3,
        0,
    )
    assert first.closed.is_set()


def test_an_outage_is_reported_once_and_not_on_every_attempt():
    def fails() -> None:
        raise SourceError("cam cannot be opened: refused")

    refused = [Played([], opening=fails) for _ in range(6)]
    with SourceReader(
        [source(Played([image(0)]), *refused, Played([image(1), forever]))]
    ) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.index == 1
        )
    told = [one.problem for one in seen if one.frame is None]
    assert told == [
        "cam ended the stream; trying again",
        "cam cannot be opened: refused; trying again",
    ]


def test_the_newest_frame_is_taken_and_dropped_ones_are_counted():
    sent = threading.Event()
    with SourceReader([source(Played([*map(image, range(50)), sent.set, forever]))]) as reader:
        assert sent.wait(10)
        assert [
            one.frame.index for one in events_until(reader, lambda event: True) if one.frame
        ] == [49]
        status = reader.status()[0]
    assert (status.frames_read, status.frames_dropped) == (50, 49)


def test_every_third_frame_is_passed_on_with_its_own_number():
    cam = source(Played([*map(image, range(8)), forever]))
    selection = FrameSelection(3, start_s=100.0)
    with SourceReader([cam], every_frame=True, selection=selection) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.index == 6
        )
    assert [one.frame.index for one in seen if one.frame] == [0, 3, 6]


def test_every_frame_makes_the_source_wait():
    sent = threading.Event()
    with SourceReader(
        [source(Played([*map(image, range(50)), sent.set, forever]))], every_frame=True
    ) as reader:
        assert not sent.wait(1.5)  # longer than a connection without a frame is waited for
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.index == 49
        )
        assert reader.status()[0].frames_dropped == 0
    assert [one.frame.index for one in seen if one.frame] == list(range(50))
    assert not any(one.problem for one in seen)


def test_a_source_that_hangs_while_opening_is_abandoned_and_blocks_nothing():
    released = threading.Event()
    hanging = [Played([image(9)], opening=released.wait) for _ in range(9)]
    began = time.monotonic()
    with SourceReader(
        [source(*hanging, name="mute"), source(Played(endless()), name="good")]
    ) as reader:
        seen = events_until(reader, lambda event: event.source.name == "mute")
        assert seen[-1].problem == "mute did not answer within 0.5 s; trying again"
        assert time.monotonic() - began < 3
        assert sum(1 for one in seen if one.frame) > 10
        assert {one.source.name for one in seen if one.frame} == {"good"}
    assert time.monotonic() - began < 4
    released.set()


def test_an_attempt_that_never_returns_is_abandoned(monkeypatch):
    monkeypatch.setattr(live_reader, "_LONGEST_HANG_S", 1.0)
    released = threading.Event()
    with SourceReader([source(Played([], opening=released.wait))]) as reader:
        assert list(reader)[-1].problem.endswith(
            "given up, since the system does not return from the last attempt"
        )
    released.set()


@pytest.mark.slow
def test_never_two_connections_at_once():
    released, open_now, most = threading.Event(), [], []

    def opening() -> None:
        open_now.append(1)
        most.append(len(open_now))
        released.wait(1.5)
        open_now.pop()

    with SourceReader([source(*(Played([image(0)], opening=opening) for _ in range(9)))]) as reader:
        events_until(reader, lambda event: event.ended)
    assert max(most) == 1
    assert len(most) == QUICK.open_tries


def test_what_an_abandoned_connection_brings_does_not_count():
    late = threading.Event()
    first = Played([image(7), image(8)], opening=lambda: late.wait(1.2))
    with SourceReader([source(first, Played([image(0), forever]))]) as reader:
        seen = events_until(reader, lambda event: event.frame is not None)
        assert first.closed.is_set()
    assert seen[-1].frame.image_bgr[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("error", "network", "told"),
    [
        (
            SourceRefusedError("cam cannot be opened: 404"),
            QUICK,
            "404; given up, since retrying is useless",
        ),
        (SourceError("cam cannot be opened: refused"), QUICK, "refused; given up after 3 attempts"),
        (
            SourceError("refused"),
            NetworkOptions(first_wait_s=0.05, give_up_after_s=0.3),
            "refused; given up after {seconds} s",
        ),
    ],
)
def test_a_source_that_never_opens_ends_as_failed(error, network, told):
    def fails() -> None:
        raise error

    began = time.monotonic()
    with SourceReader(
        [source(*(Played([], opening=fails) for _ in range(99)), network=network)]
    ) as reader:
        seen = list(reader)
        assert reader.status()[0].state == "failed"
    took_s = time.monotonic() - began  # the patience, or more on a busy machine
    assert seen[-1].ended
    ends = {told.format(seconds=seconds) for seconds in range(round(took_s) + 1)}
    assert seen[-1].problem.endswith(tuple(ends))
    with pytest.raises(SourceError, match="given up"):
        list(source(*(Played([], opening=fails) for _ in range(99)), network=network).open())


def test_an_outage_longer_than_the_patience_ends_the_source():
    def fails() -> None:
        raise SourceRefusedError(
            "cam cannot be opened: 404"
        )  # as of a server that has just started: retried once it was there

    patience = NetworkOptions(first_wait_s=0.05, give_up_after_s=0.4)
    with SourceReader(
        [
            source(
                Played([image(0)]),
                *(Played([], opening=fails) for _ in range(99)),
                network=patience,
            )
        ]
    ) as reader:
        seen = list(reader)
    assert sum(1 for one in seen if one.frame) == 1
    assert seen[-1].problem.startswith("cam cannot be opened: 404; given up after")


def test_patience_ends_when_it_is_over_and_not_a_pause_later():
    def fails() -> None:
        raise SourceError("cam cannot be opened: refused")

    patience = NetworkOptions(first_wait_s=60, longest_wait_s=60, give_up_after_s=0.4)
    began = time.monotonic()
    with SourceReader(
        [source(*(Played([], opening=fails) for _ in range(9)), network=patience)]
    ) as reader:
        seen = events_until(reader, lambda event: event.ended)
    assert seen[-1].problem.startswith("cam cannot be opened: refused; given up after")
    assert 0.4 <= time.monotonic() - began < 15


def test_an_unexpected_error_ends_one_connection_only():
    with SourceReader(
        [
            source(
                Played([image(0), RuntimeError("rtsp://u:geheim@cam")]),
                Played([image(1), forever]),
            )
        ]
    ) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.index == 1
        )
    assert "cam failed: RuntimeError; trying again" in [one.problem for one in seen]


def test_no_frame_for_a_while_is_stale_then_lost():
    patience = NetworkOptions(read_timeout_s=1.2, stale_after_s=0.3, first_wait_s=0.05)
    with SourceReader(
        [source(Played([image(0), forever]), Played([image(1), forever]), network=patience)]
    ) as reader:
        stale = events_until(reader, lambda event: "stale" in event.problem)[-1]
        assert "no new frame has arrived for 0." in stale.problem
        assert reader.status()[0].state == "stale"
        seen = events_until(reader, lambda event: event.frame is not None)
        assert "cam delivered no frame for 1.2 s; trying again" in [one.problem for one in seen]
        assert reader.status()[0].state == "live"


def test_a_frozen_image_is_flagged_until_it_moves():
    moving = threading.Event()

    def steps() -> Iterator[object]:
        while not moving.is_set():
            yield image(3)
            yield 0.02
        yield from endless()

    with SourceReader([source(Played(steps()))]) as reader:
        seen = events_until(reader, lambda event: "stale" in event.problem)
        assert "the image has not changed for" in seen[-1].problem
        assert sum(1 for one in seen if one.frame) >= 3, "a frozen stream's frames are passed on"
        assert reader.status()[0].state == "stale"
        moving.set()
        events_until(
            reader,
            lambda event: (
                event.frame is not None and event.frame.image_bgr[0, 0, 0] != image(3)[0, 0, 0]
            ),
        )
        assert reader.status()[0].state == "live"


@pytest.mark.slow
def test_a_slow_change_is_not_frozen():
    def steps() -> Iterator[object]:
        for level in range(200):
            yield np.full((24, 32, 3), level, np.uint8)
            yield 0.02

    with SourceReader([source(Played(steps()))]) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.image_bgr[0, 0, 0] >= 120
        )
    assert not any("stale" in one.problem for one in seen)


def test_a_changed_frame_size_is_reported():
    with SourceReader(
        [source(Played([image(0), 0.1, image(0), 0.1, np.zeros((48, 64, 3), np.uint8), forever]))]
    ) as reader:
        seen = events_until(
            reader, lambda event: event.frame is not None and event.frame.image_wh == (64, 48)
        )
    assert [one.problem for one in seen if one.problem] == [
        "cam changed its frame size from 32x24 to 64x48 pixels"
    ]


def test_a_recording_at_an_address_is_read_whole_once_with_its_own_times():
    recording = Played([(image(number), number / 10) for number in range(40)], finite=True)
    with SourceReader([source(recording)]) as reader:
        seen = list(reader)
    assert [round(one.frame.time_s, 3) for one in seen if one.frame] == [
        number / 10 for number in range(40)
    ]
    assert (seen[-1].ended, seen[-1].problem) == (True, "")


def test_a_truncated_recording_is_not_restarted():
    recording = Played([image(0), SourceError("cam broke off: line cut")], finite=True)
    with SourceReader([source(recording, Played([image(0)]))]) as reader:
        seen = list(reader)
    assert [one.problem for one in seen] == ["", "cam broke off: line cut"]
    assert seen[-1].ended


def test_closing_from_another_thread_releases_a_waiting_reader():
    reader = source(Played([forever])).open()
    threading.Timer(0.2, reader.close).start()
    began = time.monotonic()
    assert list(reader) == []
    assert time.monotonic() - began < 1.5
    reader.close()


def test_leaving_the_loop_disconnects():
    connection = Played(endless())
    for frame in source(connection).open():
        assert frame.index >= 0
        break
    assert connection.closed.wait(5)


def test_waits_grow_with_the_outage_and_vary():
    options = NetworkOptions(first_wait_s=0.25, wait_share=0.125, longest_wait_s=10)
    for outage_s, expected in [(0, 0.25), (1, 0.25), (4, 0.5), (40, 5), (4000, 10)]:
        waits = [options.wait_s(outage_s) for _ in range(200)]
        assert 0.8 * expected <= min(waits) < max(waits) <= 1.2 * expected
