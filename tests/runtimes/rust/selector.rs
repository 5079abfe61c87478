// SPDX-License-Identifier: GPL-2.0

//! What a program that uses mio relies on. Its own tests of this are not in the crate
//! that is published; these are others. They hold with any selector.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use mio::unix::{pipe, SourceFd};
use mio::{Events, Interest, Poll, Token, Waker};

/// For what comes, however busy the machine is.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(120));
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

const A: Token = Token(1);
const B: Token = Token(usize::MAX);

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn poll_with(sources: &mut [(&mut dyn Source, Token, Interest)]) -> Poll {
    let poll = Poll::new().unwrap();
    for (source, token, interest) in sources {
        poll.registry()
            .register(*source, *token, *interest)
            .unwrap();
    }
    poll
}

/// Polls until an event is as wanted. What comes before it is something else.
fn until(poll: &mut Poll, wanted: impl Fn(&Event) -> bool) {
    let mut events = Events::with_capacity(16);
    loop {
        poll.poll(&mut events, PATIENCE).unwrap();
        assert!(!events.is_empty(), "it does not come");
        if events.iter().any(&wanted) {
            return;
        }
    }
}

/// What is there, by token.
fn now(poll: &mut Poll) -> Vec<Token> {
    let mut events = Events::with_capacity(16);
    poll.poll(&mut events, AT_ONCE).unwrap();
    events.iter().map(Event::token).collect()
}

fn would_block<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nonblocking(true).unwrap();
    }
    (TcpStream::from_std(near), TcpStream::from_std(far))
}

#[test]
fn connect_accept_and_talk() {
    let mut listener = TcpListener::bind(any_port()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    let mut poll = poll_with(&mut [
        (&mut listener, A, Interest::READABLE),
        (&mut client, B, both),
    ]);

    until(&mut poll, |event| event.token() == A && event.is_readable());
    let (mut server, _) = listener.accept().unwrap();
    assert!(would_block(listener.accept()));
    server.write_all(b"hello").unwrap();
    until(&mut poll, |event| event.token() == B && event.is_readable());
    let mut text = [0; 16];
    assert_eq!(client.read(&mut text).unwrap(), 5);
    assert!(would_block(client.read(&mut text)));
}

#[test]
fn tells_once_until_there_is_more() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::READABLE)]);

    assert_eq!(now(&mut poll), []);
    far.write_all(b"1").unwrap();
    assert_eq!(now(&mut poll), [A]);
    assert_eq!(now(&mut poll), []);
    far.write_all(b"2").unwrap();
    assert_eq!(now(&mut poll), [A]);
}

#[test]
fn to_register_anew_tells_again() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::READABLE)]);

    far.write_all(b"1").unwrap();
    assert_eq!(now(&mut poll), [A]);
    let registry = poll.registry();
    registry
        .reregister(&mut near, B, Interest::READABLE)
        .unwrap();
    assert_eq!(now(&mut poll), [B]);

    // Another interest takes the place of the first.
    let registry = poll.registry();
    registry
        .reregister(&mut near, A, Interest::WRITABLE)
        .unwrap();
    assert_eq!(now(&mut poll), [A]);
    far.write_all(b"2").unwrap();
    until(
        &mut poll_with(&mut [(&mut far, A, Interest::WRITABLE)]),
        Event::is_writable,
    );
    assert_eq!(now(&mut poll), []);
}

#[test]
fn deregistered_is_silent() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::READABLE)]);

    far.write_all(b"1").unwrap();
    poll.registry().deregister(&mut near).unwrap();
    assert_eq!(now(&mut poll), []);
    poll.registry()
        .register(&mut near, B, Interest::READABLE)
        .unwrap();
    assert_eq!(now(&mut poll), [B]);
}

#[test]
fn closed_is_silent_and_so_is_the_next_of_its_number() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::READABLE)]);

    far.write_all(b"1").unwrap();
    drop(near);
    let (_other, mut another) = UnixStream::pair().unwrap();
    another.write_all(b"2").unwrap();
    assert_eq!(now(&mut poll), []);
}

#[test]
fn the_end_of_a_stream() {
    let (mut near, mut far) = connected();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::READABLE)]);

    far.write_all(b"last").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    until(&mut poll, |event| {
        event.is_readable() && event.is_read_closed()
    });
    let mut text = Vec::new();
    near.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"last");
}

#[test]
fn both_ends_of_a_stream() {
    let (mut near, far) = connected();
    let both = Interest::READABLE | Interest::WRITABLE;
    let mut poll = poll_with(&mut [(&mut near, A, both)]);

    near.shutdown(Shutdown::Write).unwrap();
    drop(far);
    until(&mut poll, Event::is_read_closed);
    near.shutdown(Shutdown::Read).unwrap_or_default();
    poll.registry().reregister(&mut near, A, both).unwrap();
    until(&mut poll, Event::is_write_closed);
}

#[test]
fn a_connection_that_is_refused() {
    // A port of an address where nobody else listens.
    let address = SocketAddr::from(([127, 0, 0, 9], 0));
    let address = TcpListener::bind(address).and_then(|listener| listener.local_addr());

    // It may be refused at once.
    let Ok(mut client) = TcpStream::connect(address.unwrap()) else {
        return;
    };
    let mut poll = poll_with(&mut [(&mut client, A, Interest::WRITABLE)]);
    until(&mut poll, |event| event.is_writable() && event.is_error());
    let error = client.take_error().unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_full_stream_is_writable_when_there_is_room() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut poll = poll_with(&mut [(&mut near, A, Interest::WRITABLE)]);
    let (block, mut written) = ([0; 4096], 0);

    until(&mut poll, Event::is_writable);
    while let Ok(n) = near.write(&block) {
        written += n;
    }
    assert_eq!(now(&mut poll), []);
    let mut sink = vec![0; written];
    far.read_exact(&mut sink).unwrap();
    until(&mut poll, Event::is_writable);
}

#[test]
fn datagrams() {
    let mut inet = UdpSocket::bind(any_port()).unwrap();
    let (mut unix, sender) = UnixDatagram::pair().unwrap();
    let mut poll = poll_with(&mut [
        (&mut inet, A, Interest::READABLE),
        (&mut unix, B, Interest::READABLE),
    ]);
    let mut text = [0; 16];

    assert_eq!(now(&mut poll), []);
    let peer = UdpSocket::bind(any_port()).unwrap();
    peer.send_to(b"one", inet.local_addr().unwrap()).unwrap();
    until(&mut poll, |event| event.token() == A);
    assert_eq!(inet.recv_from(&mut text).unwrap().0, 3);
    assert!(would_block(inet.recv_from(&mut text)));

    sender.send(b"other").unwrap();
    until(&mut poll, |event| event.token() == B);
    assert_eq!(unix.recv(&mut text).unwrap(), 5);
}

#[test]
fn pipes_and_their_ends() {
    let (mut sender, mut receiver) = pipe::new().unwrap();
    let mut poll = poll_with(&mut [
        (&mut sender, A, Interest::WRITABLE),
        (&mut receiver, B, Interest::READABLE),
    ]);

    until(&mut poll, |event| event.token() == A && event.is_writable());
    sender.write_all(b"hello").unwrap();
    until(&mut poll, |event| event.token() == B && event.is_readable());
    let mut text = [0; 16];
    assert_eq!(receiver.read(&mut text).unwrap(), 5);
    drop(sender);
    until(&mut poll, |event| {
        event.token() == B && event.is_read_closed()
    });

    let (mut sender, receiver) = pipe::new().unwrap();
    poll.registry()
        .register(&mut sender, A, Interest::WRITABLE)
        .unwrap();
    drop(receiver);
    until(&mut poll, |event| {
        event.token() == A && event.is_write_closed()
    });
}

#[test]
fn a_bare_descriptor() {
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    let mut poll = poll_with(&mut [(&mut SourceFd(&fd), A, Interest::READABLE)]);

    far.write_all(b"1").unwrap();
    assert_eq!(now(&mut poll), [A]);
    poll.registry().deregister(&mut SourceFd(&fd)).unwrap();
    far.write_all(b"2").unwrap();
    assert_eq!(now(&mut poll), []);
}

#[test]
fn a_poll_in_a_poll() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut inner = poll_with(&mut [(&mut near, A, Interest::READABLE)]);
    let fd = inner.as_raw_fd();
    let mut outer = poll_with(&mut [(&mut SourceFd(&fd), B, Interest::READABLE)]);

    assert_eq!(now(&mut outer), []);
    far.write_all(b"1").unwrap();
    assert_eq!(now(&mut outer), [B]);
    assert_eq!(now(&mut inner), [A]);
}

#[test]
fn a_waker_wakes() {
    let mut poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), A).unwrap());

    assert_eq!(now(&mut poll), []);
    // Before it is waited for, and as one.
    waker.wake().unwrap();
    waker.wake().unwrap();
    assert_eq!(now(&mut poll), [A]);
    assert_eq!(now(&mut poll), []);

    for _ in 0..100 {
        let other = {
            let waker = waker.clone();
            thread::spawn(move || waker.wake().unwrap())
        };
        until(&mut poll, |event| event.token() == A && event.is_readable());
        other.join().unwrap();
    }
}

#[test]
fn another_thread_registers_while_it_waits() {
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let (mut near, mut far) = UnixStream::pair().unwrap();

    far.write_all(b"1").unwrap();
    let other = thread::spawn(move || {
        registry.register(&mut near, A, Interest::READABLE).unwrap();
        near
    });
    until(&mut poll, |event| event.token() == A);
    drop(other.join().unwrap());
}

#[test]
fn of_many_none_is_forgotten() {
    const MANY: usize = 400;
    let mut poll = Poll::new().unwrap();
    let mut pairs = Vec::new();
    let mut events = Events::with_capacity(7);

    for i in 0..MANY {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        poll.registry()
            .register(&mut near, Token(i), Interest::READABLE)
            .unwrap();
        far.write_all(b"1").unwrap();
        pairs.push((near, far));
    }
    let mut seen = Vec::new();
    while seen.len() < MANY {
        poll.poll(&mut events, PATIENCE).unwrap();
        assert!(!events.is_empty(), "{} of {MANY} came", seen.len());
        seen.extend(events.iter().map(|event| event.token().0));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..MANY).collect::<Vec<_>>());
}

#[test]
fn time_passes() {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1);

    for timeout in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(20),
    ] {
        poll.poll(&mut events, Some(timeout)).unwrap();
        assert!(events.is_empty());
    }
    // What is longer than the kernel has numbers for is for ever.
    let waker = Waker::new(poll.registry(), A).unwrap();
    let other = thread::spawn(move || waker.wake().map(|()| waker).unwrap());
    poll.poll(&mut events, Some(Duration::MAX)).unwrap();
    assert_eq!(events.iter().map(Event::token).collect::<Vec<_>>(), [A]);
    drop(other.join().unwrap());
}
