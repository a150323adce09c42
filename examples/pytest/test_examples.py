"""What a test did to the machine, asserted. Run it: python -m pytest examples/pytest

The two tests that are marked as failing do what their fixtures forbid.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from capsule.testing import assert_no_network, assert_writes_only_below


def test_this_test_touches_no_network(no_network):
    subprocess.run([sys.executable, "-c", "import json"], check=True)


@pytest.mark.xfail(strict=True, reason="it connects to an address")
def test_this_one_does(no_network):
    socket.socket().connect_ex(("127.0.0.1", 9))


def test_a_local_server_may_be_allowed(no_network):
    no_network.allow("127.0.0.1:*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_this_test_writes_below_tmp_path_only(writes_only_tmp_path, tmp_path):
    (tmp_path / "made").write_text("here")


@pytest.mark.xfail(strict=True, reason="it writes elsewhere")
def test_this_one_writes_elsewhere(writes_only_tmp_path, tmp_path_factory):
    (tmp_path_factory.mktemp("elsewhere") / "made").write_text("there")


def test_a_program_is_what_it_claims_to_be(capsule_trace, tmp_path):
    Path(tmp_path, "words").write_text("b\na\n")
    run = capsule_trace(["sort", "-o", "sorted", "words"], cwd=tmp_path)
    assert run.returncode == 0
    assert_no_network(run)
    assert_writes_only_below(run, tmp_path)
    assert [node.argv[0] for node in run.processes] == ["sort"]
