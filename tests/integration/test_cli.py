"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archive_files import archive_options, record

from yolo_ema.cli import VERBS, main


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_help_of_every_verb_shows_examples(verb, capsys):
    assert main([*verb.words.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"yolo-ema {verb.examples[0]}" in shown


def test_a_calling_program_keeps_its_own_sigterm_handler():
    def own(_number, _frame):
        """Stand for a handler of the caller's."""

    before = signal.signal(signal.SIGTERM, own)
    try:
        main(["--version"])
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interruption_at_the_very_beginning_is_one_word(monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("yolo_ema.cli.build_parser", interrupted)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("yolo-ema ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["detekt", "x.jpg"], "did you mean 'detect'?"),
        (["detect", "x.jpg", "--wieghts", "w.pt"], "did you mean '--weights'?"),
        (["data", "prepare", "visdrne"], "did you mean 'visdrone'?"),
    ],
)
def test_a_mistyped_word_suggests_the_closest(words, hint, capsys):
    assert main(words) == 2
    assert hint in capsys.readouterr().err


def test_an_error_is_one_line_on_stderr_and_its_code(capsys):
    assert main(["detect", "no-such.jpg"]) == 5
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("yolo-ema: error: ")
    assert shown.err.count("\n") == 1


def test_an_operating_system_error_is_not_a_bug_of_ours(monkeypatch, capsys):
    def refuse(_options):
        raise FileExistsError(17, "File exists", "boxes")

    monkeypatch.setattr("yolo_ema.detect.verb.detect_any", refuse)
    assert main(["detect", "x.jpg"]) == 6
    assert capsys.readouterr().err == "yolo-ema: error: boxes: File exists\n"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (MemoryError("cannot allocate 9 GiB"), "not enough memory: cannot allocate 9 GiB"),
        (MemoryError(), "not enough memory"),
        (
            FileNotFoundError(2, "No usable temporary directory found in ['a']"),
            (
                "no temporary folder can be written to: No usable temporary directory found in "
                "['a']; expected a folder with free space; TMPDIR names another"
            ),
        ),
    ],
)
def test_what_the_machine_lacks_is_not_a_bug_of_ours(monkeypatch, capsys, fault, said):
    def lack(_options):
        raise fault

    monkeypatch.setattr("yolo_ema.detect.verb.detect_any", lack)
    assert main(["detect", "x.jpg"]) == 6
    assert capsys.readouterr().err == f"yolo-ema: error: {said}\n"


def test_a_bug_of_ours_is_reported_as_one(monkeypatch, capsys):
    monkeypatch.setattr("yolo_ema.detect.verb.detect_any", lambda _options: 1 // 0)
    assert main(["detect", "x.jpg"]) == 1
    assert "unexpected ZeroDivisionError" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys):
    assert main(["detect", "no-such.jpg", "--debug"]) == 5
    assert "Traceback" in capsys.readouterr().err


def test_wrong_options_are_named_together(capsys):
    assert main(["detect", "x.jpg", "--conf", "2", "--iou", "-1"]) == 2
    shown = capsys.readouterr().err
    assert "--conf is 2.0" in shown
    assert "--iou is -1.0" in shown


def test_the_main_help_is_quick_because_it_imports_nothing_heavy():
    code = (
        "import sys, yolo_ema.cli; yolo_ema.cli.main(['--help']); sys.exit(bool({'torch', "
        "'numpy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


def test_help_of_detect_is_grouped_and_its_usage_fits_a_line(capsys):
    assert main(["detect", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "usage: yolo-ema detect [options] SOURCE …"
    headings = (
        "input",
        "model",
        "tiles",
        "tracking and counting",
        "output",
        "live page",
        "network",
    )
    places = [shown.index(f"\n{heading}:\n") for heading in headings]
    assert places == sorted(places)


class _Result:
    def __init__(self, text: str) -> None:
        self.text = text

    def as_text(self) -> str:
        return self.text

    def as_json(self) -> dict[str, str]:
        return {"text": self.text}


def test_control_characters_in_names_do_not_reach_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr(
        "yolo_ema.detect.verb.detect_any", lambda _: _Result("a\x1b[2Jb\u202ec\nd\te")
    )
    assert main(["detect", "x.jpg"]) == 0
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\nd\te\n"


_PRINTS_A_NAME = """
import sys, yolo_ema.cli as cli
class Result:
    as_text = lambda self: "caf\\u00e9 \\u2713"
    as_json = lambda self: {}
real = cli.resolve
cli.resolve = lambda name: (lambda options: Result()) if "verb:" in name else real(name)
sys.exit(cli.main(["detect", "x.jpg"]))
"""


def test_a_character_the_terminal_lacks_is_escaped():
    done = subprocess.run(
        [sys.executable, "-c", _PRINTS_A_NAME],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "caf\\xe9 \\u2713\n"), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_error():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _PRINTS_A_NAME],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr == (
        "yolo-ema: error: the result could not be written to stdout: the disk is full\n"
    )


_PIPE_OF_WINDOWS = """
import io, sys
class Pipe(io.TextIOWrapper):
    def write(self, text):
        raise OSError(22, "Invalid argument")
sys.stdout = Pipe(open(1, "wb", closefd=False))
"""


def test_a_reader_that_goes_away_is_no_error_in_the_words_of_windows_either():
    done = subprocess.run(
        [sys.executable, "-c", _PIPE_OF_WINDOWS + _PRINTS_A_NAME],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_closed_streams_change_nothing(closed):
    command = f'"{sys.executable}" -c "$0" {closed}'
    assert subprocess.run(["sh", "-c", command, _PRINTS_A_NAME], check=False).returncode == 0


_HOMELESS = """
import os, pwd, sys
def unknown(number):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
from yolo_ema.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [["doctor", "--json"], ["models", "yolo11n-ema", "--json"]])
def test_a_user_number_without_name_and_home_is_served(tmp_path, words):
    pytest.importorskip("pwd")
    gone = {"HOME", "YOLO_EMA_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"}
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run(
        [sys.executable, "-c", _HOMELESS, *words],
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "home directory" not in done.stdout + done.stderr
    assert json.loads(done.stdout)


_SPEAKS = """
import logging, sys, yolo_ema.cli as cli
from tqdm import tqdm
from yolo_ema.io.text_files import say
class Result:
    exit_code = 5
    as_text = lambda self: "whole"
    as_json = lambda self: {"whole": True}
def work(options):
    for _ in range(3):
        say("working")
        print("a library's word")
        logging.getLogger("a").warning("another's")
        tqdm.write("a bar's", file=sys.stderr)
        with tqdm(total=2, file=sys.stderr, mininterval=0) as bar:
            bar.update()
    return Result()
real = cli.resolve
cli.resolve = lambda name: work if "verb:" in name else real(name)
sys.exit(cli.main(["detect", "x.jpg", "--json"]))
"""


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_run_whose_reader_goes_away_ends_as_it_would_have(closed):
    ours, theirs = os.pipe()
    os.close(ours)
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams = {name: theirs if closed in {name, "both"} else pipe for name, pipe in kept.items()}
    done = subprocess.run([sys.executable, "-c", _SPEAKS], text=True, check=False, **streams)
    os.close(theirs)
    assert done.returncode == 5, done.stderr
    if closed == "stderr":
        assert done.stdout == '{"whole": true}\n'
    elif closed == "stdout":
        assert done.stderr.count("working\n") == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_ends_no_run():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _SPEAKS],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (5, '{"whole": true}\n')


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["detect", "archive"])
def test_all_results_are_written_where_nobody_reads_the_messages(tmp_path, verb):
    pytest.importorskip("pyarrow")
    options = archive_options(tmp_path, "clip.mp4")
    record(tmp_path / "clip.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words = [verb, "clip.mp4", "broken.mp4", "--weights", options.weights, "--out", "out"]
    if verb == "detect":
        words += ["--save", "jsonl"]
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "yolo_ema", *map(str, words), "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=False,
    )
    os.close(theirs)
    assert done.returncode == 5
    result = json.loads(done.stdout)
    if verb == "archive":
        assert (result["frames"], result["done"], result["failed"]) == (20, 1, 1)
        assert len(list(tmp_path.glob("out/detections/*.parquet"))) == 1
    else:
        assert [source["frames"] for source in result["sources"]] == [20, 0]
        assert len((tmp_path / "out" / "detections.jsonl").read_text().splitlines()) >= 20
