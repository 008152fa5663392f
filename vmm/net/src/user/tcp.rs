//! Connections of the guest's, and those of the host's that they are.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt::socket_error,
};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpListenEndpoint;

use super::datagrams::outside;
use crate::frame::Host;
use crate::spec::{GUEST_IP, PEER_IP};

/// Octets that wait in each direction of a connection.
const BUFFER: usize = 128 << 10;
/// The time after which a guest that acknowledges nothing is taken to be gone.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The same of a guest that a connection is made to: whoever made it may have gone, and when the
/// guest listens at last it must not be served first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first of the ports from which connections lead to the guest (RFC 6335, 6).
const FIRST_PORT: u16 = 49_152;

/// How far a connection is.
enum Stage {
    /// The host's is being made; the guest's SYN waits.
    Connecting(Vec<u8>),
    /// Both are there, or the guest's is being made.
    Open(SocketHandle),
}

/// A connection.
pub(super) struct Flow {
    pub guest: Host,
    pub guest_port: u16,
    /// What the guest calls the other end.
    pub remote: SocketAddrV4,
    stream: TcpStream,
    stage: Stage,
    /// Whether the host sends no more.
    host_closed: bool,
    /// Whether the host was told that the guest sends no more.
    guest_closed: bool,
    /// What the host did not take when it was last asked.
    blocked: bool,
}

/// What becomes of a connection.
pub(super) enum Outcome {
    /// It goes on.
    Goes,
    /// It is over.
    Over,
    /// The host's cannot be made; the guest's SYN.
    Refused(Vec<u8>),
    /// The host's is made: the stack gets the guest's SYN.
    Made(Vec<u8>),
}

impl Flow {
    /// Begins the connection that the packet `syn` asks for.
    pub fn connect(
        guest: Host,
        guest_port: u16,
        remote: SocketAddrV4,
        syn: Vec<u8>,
    ) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &outside(remote)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            guest,
            guest_port,
            remote,
            stream: socket.into(),
            stage: Stage::Connecting(syn),
            host_closed: false,
            guest_closed: false,
            blocked: false,
        })
    }

    /// Begins a connection to the guest's port `port` for one that was made to the host.
    pub fn accepted(
        stream: TcpStream,
        port: u16,
        count: u16,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
    ) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let local = FIRST_PORT + count % (u16::MAX - FIRST_PORT);
        let mut socket = socket();
        socket.set_timeout(Some(CONNECT_TIMEOUT));
        let guest = Host {
            mac: [0; 6],
            ip: GUEST_IP,
        };
        let made = socket.connect(interface.context(), (GUEST_IP, port), (PEER_IP, local));
        made.ok()?;
        Some(Self {
            guest,
            guest_port: port,
            remote: SocketAddrV4::new(PEER_IP, local),
            stream,
            stage: Stage::Open(sockets.add(socket)),
            host_closed: false,
            guest_closed: false,
            blocked: false,
        })
    }

    /// Returns whether segments from the guest's port to `remote` belong to it.
    pub fn is_of(&self, guest: Ipv4Addr, port: u16, remote: SocketAddrV4) -> bool {
        (self.guest.ip, self.guest_port, self.remote) == (guest, port, remote)
    }

    /// Returns whether the stack knows it.
    pub const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Has the stack take the guest's connection.
    pub fn listen(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let mut socket = socket();
        let at = IpListenEndpoint {
            addr: Some((*self.remote.ip()).into()),
            port: self.remote.port(),
        };
        let listens = socket.listen(at).is_ok();
        self.stage = Stage::Open(sockets.add(socket));
        listens
    }

    /// Returns what there is to wait for.
    pub fn interest(&self, sockets: &SocketSet<'_>) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        match &self.stage {
            Stage::Connecting(_) => flags |= PollFlags::OUT,
            Stage::Open(handle) => {
                let socket = sockets.get::<Socket<'_>>(*handle);
                flags.set(PollFlags::IN, socket.can_send() && !self.host_closed);
                flags.set(PollFlags::OUT, self.blocked);
            }
        }
        // Without any it would wake the thread with an error, for ever.
        (!flags.is_empty()).then(|| (self.stream.as_fd(), flags))
    }

    /// Moves what can be moved.
    pub fn go_on(&mut self, sockets: &mut SocketSet<'_>) -> Outcome {
        let handle = match &mut self.stage {
            Stage::Connecting(syn) => {
                return match (socket_error(&self.stream), self.stream.peer_addr()) {
                    (Ok(Ok(())), Ok(_)) => Outcome::Made(std::mem::take(syn)),
                    (Ok(Ok(())), Err(_)) => Outcome::Goes,
                    _ => Outcome::Refused(std::mem::take(syn)),
                };
            }
            Stage::Open(handle) => *handle,
        };
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        // It listens only if the guest's SYN made no sense to the stack.
        if matches!(
            socket.state(),
            State::Closed | State::TimeWait | State::Listen
        ) {
            return Outcome::Over;
        }
        if socket.state() != State::SynSent {
            socket.set_timeout(Some(TIMEOUT));
        }
        if self.send_to_host(socket).is_err() || self.send_to_guest(socket).is_err() {
            socket.abort();
        }
        Outcome::Goes
    }

    fn send_to_host(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        self.blocked = false;
        while socket.can_recv() {
            let mut failure = None;
            let moved = socket.recv(|data| match self.stream.write(data) {
                Ok(len) => (len, len),
                Err(error) => {
                    failure = Some(error);
                    (0, 0)
                }
            });
            match (failure, moved) {
                (Some(error), _) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                (Some(error), _) => return Err(error),
                (None, Ok(1..)) => {}
                (None, _) => return Ok(()),
            }
        }
        let closed = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing
        );
        if closed && !self.guest_closed {
            self.guest_closed = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    fn send_to_guest(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        while socket.can_send() && !self.host_closed {
            let mut failure = None;
            let moved = socket.send(|room| match self.stream.read(room) {
                Ok(len) => (len, len),
                Err(error) => {
                    failure = Some(error);
                    (0, 0)
                }
            });
            match (failure, moved) {
                (Some(error), _) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                (Some(error), _) => return Err(error),
                (None, Ok(0)) => {
                    self.host_closed = true;
                    socket.close();
                }
                (None, Ok(_)) => {}
                (None, Err(_)) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Forgets the guest's end.
    pub fn remove(self, sockets: &mut SocketSet<'_>) {
        if let Stage::Open(handle) = self.stage {
            sockets.remove(handle);
        }
    }
}

fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(TIMEOUT));
    // What comes from the host is sent on at once, as it comes in pieces of its own.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}
