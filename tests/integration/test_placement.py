"""Which CPUs a run's processes get, and that nothing changes unless asked."""

import os
import subprocess
import sys

import orjson
import pytest

from capsule.placement import ANYWHERE, Placement, move, on_one_cpu, stages_on_one_cpu, starting_on

SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"


def _trace(tmp_path, *options):
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--log-dir", str(tmp_path)]
    words += [*options, "--", sys.executable, "-c", SHOW]
    done = subprocess.run(words, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_strace_and_target_get_the_last_cpu_and_the_stages_the_others():
    assert on_one_cpu({0, 1}) == Placement(frozenset({1}), frozenset({0}))
    assert on_one_cpu({2, 5, 7}) == Placement(frozenset({7}), frozenset({2, 5}))


def test_one_cpu_leaves_nothing_to_choose():
    assert on_one_cpu({3}) == ANYWHERE
    assert stages_on_one_cpu({3}, 1) == ANYWHERE


def test_the_stages_of_two_runs_get_different_cpus_and_the_target_keeps_all():
    assert stages_on_one_cpu({5, 2, 7}, 0) == Placement(None, frozenset({2}))
    assert stages_on_one_cpu({5, 2, 7}, 1) == Placement(None, frozenset({5}))
    assert stages_on_one_cpu({5, 2, 7}, 3) == Placement(None, frozenset({2}))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one CPU")
def test_all_threads_of_a_process_are_moved():
    one = frozenset({min(os.sched_getaffinity(0))})
    code = (
        "import sys, threading; e = threading.Event(); threading.Thread(target=e.wait).start(); "
        "print(flush=True); sys.stdin.read(); e.set()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        move(process.pid, one)
        threads = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        found = [os.sched_getaffinity(thread) for thread in threads]
    assert found == [one, one]


def test_a_process_that_has_died_is_not_moved():
    process = subprocess.Popen(["true"])
    process.wait()
    move(process.pid, frozenset({min(os.sched_getaffinity(0))}))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one CPU")
@pytest.mark.parametrize(("pin", "count"), [("stages", 1), ("off", len(os.sched_getaffinity(0)))])
def test_where_the_stages_of_a_run_are(tmp_path, pin, count):
    show = (
        "import os, pathlib\n"
        "for pid in pathlib.Path(f'/proc/{os.getppid()}/task/{os.getppid()}/children')"
        ".read_text().split():\n"
        "    if pathlib.Path(f'/proc/{pid}/comm').read_text().startswith('capsule-'):\n"
        "        print(len(os.sched_getaffinity(int(pid))))\n"
    )
    words = [sys.executable, "-m", "capsule", "trace", "-q", "--log-dir", str(tmp_path)]
    words += ["--pin", pin, "--", sys.executable, "-c", show]
    done = subprocess.run(words, capture_output=True, check=True)
    assert done.stdout.split() == [b"%d" % count] * 5


def test_a_child_inherits_the_place_and_its_parent_goes_back():
    here = os.sched_getaffinity(0)
    with starting_on(frozenset({min(here)})):
        said = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True).stdout
    assert orjson.loads(said) == [min(here)]
    assert os.sched_getaffinity(0) == here


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one CPU")
def test_the_target_sees_its_one_cpu_only_when_asked_for(tmp_path):
    here = sorted(os.sched_getaffinity(0))
    assert _trace(tmp_path) == (0, f"{here}\n", "")
    assert _trace(tmp_path, "--pin", "auto") == (0, f"{[here[-1]]}\n", "")
    assert _trace(tmp_path, "--pin", "auto", "--syscalls", "process")[:2] == (0, f"{[here[-1]]}\n")


def test_pin_is_not_for_programs_that_already_run(tmp_path):
    words = [sys.executable, "-m", "capsule", "trace", "--pin", "auto", "-p", str(os.getpid())]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 125
    assert done.stderr == b"capsule: --pin auto goes with a command, not with -p\n"
