"""Sockets: who is at the other end, learnt from connect, bind and accept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import literals
from tests.unit.stages import actions, run, stamped

PEER = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}'
LOCAL = '{sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("127.0.0.1")}'


def pairs(trace: str) -> list[tuple[str, str | None]]:
    return [(action["kind"], action.get("target")) for action in actions(trace)]


def test_read_and_write_on_a_socket_go_to_its_peer() -> None:
    trace = stamped(f"""
        10 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3<socket:[7]>
        10 connect(3<socket:[7]>, {PEER}, 16) = -1 EINPROGRESS (Operation now in progress)
        10 write(3<socket:[7]>, "GET", 3) = 3
        10 recvfrom(3<socket:[7]>, "HTTP", 4096, 0, NULL, NULL) = 4
        10 dup(3<socket:[7]>) = 5<socket:[7]>
        10 sendto(5<socket:[7]>, "x", 1, MSG_NOSIGNAL, NULL, 0) = 1
        10 close(3<socket:[7]>) = 0
    """)
    done = run(trace)
    found = {action["kind"]: action for action in done.actions()}
    assert found["net.connect"]["target"] == "192.0.2.1:80"
    assert found["net.connect"]["family"] == "AF_INET"
    assert (found["net.send"]["target"], found["net.send"]["bytes"]) == ("192.0.2.1:80", 4)
    assert (found["net.recv"]["target"], found["net.recv"]["bytes"]) == ("192.0.2.1:80", 4)
    assert done.aggregator.summary()["hosts"] == {"count": 1, "addresses": ["192.0.2.1:80"]}


def test_inode_number_of_a_dead_socket_says_nothing() -> None:
    trace = stamped(f"""
        10 connect(3<socket:[7]>, {PEER}, 16) = 0
        10 close(3<socket:[7]>) = 0
        10 socket(AF_INET, SOCK_STREAM, 0) = 3<socket:[7]>
        10 write(3<socket:[7]>, "x", 1) = 1
    """)
    assert pairs(trace)[-1] == ("net.send", "socket:[7]")


def test_refused_connection_is_no_peer() -> None:
    trace = stamped(f"""
        10 connect(3<socket:[7]>, {PEER}, 16) = -1 ECONNREFUSED (Connection refused)
        10 write(3<socket:[7]>, "x", 1) = -1 EPIPE (Broken pipe)
    """)
    assert pairs(trace)[-1] == ("net.send", "socket:[7]")


def test_server_listens_accepts_and_answers() -> None:
    trace = stamped(f"""
        10 bind(3<socket:[7]>, {LOCAL}, 16) = 0
        10 listen(3<socket:[7]>, 5) = 0
        10 accept4(3<socket:[7]>, {PEER.replace("80", "4711")}, [16], SOCK_CLOEXEC) = 4<socket:[8]>
        10 sendto(4<socket:[8]>, "x", 1, 0, NULL, 0) = 1
    """)
    assert pairs(trace) == [
        ("net.bind", "127.0.0.1:8080"),
        ("net.listen", "127.0.0.1:8080"),
        ("net.accept", "192.0.2.1:4711"),
        ("net.send", "192.0.2.1:4711"),
    ]
    assert actions(trace, "net.accept")[0]["local"] == "127.0.0.1:8080"


def test_port_0_is_what_getsockname_says() -> None:
    trace = stamped(f"""
        10 bind(3<socket:[7]>, {LOCAL.replace("8080", "0")}, 16) = 0
        10 getsockname(3<socket:[7]>, {LOCAL.replace("8080", "40123")}, [16]) = 0
        10 listen(3<socket:[7]>, 5) = 0
    """)
    assert actions(trace, "net.listen")[0]["target"] == "127.0.0.1:40123"


def test_datagrams_go_where_each_call_says() -> None:
    trace = stamped(f"""
        10 sendto(3<socket:[7]>, "x", 1, 0, {PEER}, 16) = 1
        10 recvfrom(3<socket:[7]>, "y", 9, 0, {LOCAL}, [16]) = 1
        10 sendmsg(3<socket:[7]>, {{msg_name={PEER}, msg_namelen=16, msg_iov=[]}}, 0) = 2
    """)
    assert sorted(pairs(trace)) == [
        ("net.recv", "127.0.0.1:8080"),
        ("net.send", "192.0.2.1:80"),
    ]


def test_descriptors_that_travel_are_told_and_known_at_the_other_end() -> None:
    trace = stamped("""
        10 socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0
        10 openat(AT_FDCWD, "/srv/a", O_RDONLY) = 5
        10 clone(child_stack=NULL, flags=SIGCHLD) = 11
        10 sendmsg(3, {msg_iov=[], msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[5]}]}, 0) = 1
        11 close(5) = 0
        11 recvmsg(4, {msg_iov=[], msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[9]}]}, 0) = 1
        11 read(9, "x", 1) = 1
    """)
    assert actions(trace, "file.read")[0]["target"] == "/srv/a"
    assert actions(trace, "net.send")[0]["fds"] == "5"


def test_sockets_without_decoration() -> None:
    trace = stamped(f"""
        10 socket(AF_INET, SOCK_STREAM, 0) = 3
        10 connect(3, {PEER}, 16) = 0
        10 write(3, "x", 1) = 1
        10 close(3) = 0
        10 write(3, 0x1, 1) = -1 EBADF (Bad file descriptor)
    """)
    assert [pair for pair in pairs(trace) if pair[0] in ("net.send", "file.write")] == [
        ("net.send", "192.0.2.1:80"),
        ("file.write", "fd:3"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ((b'{sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), '
          b'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}'),
         b"[2001:db8::1]:443"),
        (b'{sa_family=AF_UNIX, sun_path="/run/x"}', b"unix:/run/x"),
        (b'{sa_family=AF_UNIX, sun_path=@"abs"}', b"unix:@abs"),
        (b"{sa_family=AF_UNIX}", b"unix:"),
        (b"{sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}", b"netlink:0"),
        (b"{sa_family=AF_UNSPEC, sa_data=\"\\0\"}", b"unspec"),
        (b"{sa_family=AF_PACKET, sll_protocol=htons(ETH_P_ALL)}",
         b"{sa_family=AF_PACKET, sll_protocol=htons(ETH_P_ALL)}"),
    ],
)  # fmt: skip
def test_addresses(text: bytes, shown: bytes) -> None:
    found = literals.sockaddr(text)
    assert found is not None
    assert found[0] == shown


@given(st.binary(max_size=80))
def test_no_text_stops_the_readers_of_literals(text: bytes) -> None:
    literals.unquote(text)
    literals.strings(b"[" + text)
    literals.decoration(text)
    literals.sockaddr(b"{sa_family=AF_INET, " + text)
    literals.classify(text)
    literals.peer(text)
    literals.absolute(b"/a", text)


@given(st.binary(max_size=60))
def test_quoted_bytes_come_back(data: bytes) -> None:
    quoted = b'"' + b"".join(b"\\%03o" % byte for byte in data) + b'"'
    assert literals.unquote(quoted) == (data, False)
    assert literals.strings(b"[" + quoted + b", " + quoted + b"]") == ([data, data], False)
