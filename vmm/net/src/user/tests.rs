//! The user-mode network with servers of the host's, and `smoltcp`'s stack as the guest.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::*;
use crate::spec::{ETHERNET_HEADER, GUEST_IP, MTU, PEER_IP};

const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PATIENCE: Duration = Duration::from_secs(60);

struct Cable<'a>(&'a mut User);

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sent(Arc<Link>);

impl TxToken for Sent {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Device for Cable<'_> {
    type RxToken<'a>
        = Received
    where
        Self: 'a;
    type TxToken<'a>
        = Sent
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent)> {
        let frame = self.0.give(0)?;
        Some((Received(frame), Sent(self.0.link.clone())))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent> {
        Some(Sent(self.0.link.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + usize::from(MTU);
        capabilities
    }
}

struct Guest {
    user: User,
    interface: Interface,
    sockets: SocketSet<'static>,
    start: Instant,
}

impl Guest {
    fn new(forwards: Vec<Listening>) -> Self {
        let mut user = User::start(forwards).unwrap();
        let config = Config::new(EthernetAddress(GUEST_MAC).into());
        let zero = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(config, &mut Cable(&mut user), zero);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST_IP.into(), 24)).unwrap();
        });
        Self {
            user,
            interface,
            sockets: SocketSet::new(Vec::new()),
            start: Instant::now(),
        }
    }

    /// Works until `done` returns something.
    fn until<T>(
        &mut self,
        mut done: impl FnMut(&mut Interface, &mut SocketSet<'static>) -> Option<T>,
    ) -> T {
        loop {
            let micros = self.start.elapsed().as_micros() as i64;
            let now = smoltcp::time::Instant::from_micros(micros);
            let mut cable = Cable(&mut self.user);
            self.interface.poll(now, &mut cable, &mut self.sockets);
            if let Some(found) = done(&mut self.interface, &mut self.sockets) {
                return found;
            }
            assert!(self.start.elapsed() < PATIENCE, "nothing comes");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn tcp(&mut self) -> smoltcp::iface::SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 50_000]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// Sends `data` on a connection that there is, and returns what comes back up to its end.
    fn exchange(&mut self, handle: smoltcp::iface::SocketHandle, data: &[u8]) -> Vec<u8> {
        let (mut sent, mut received) = (0, Vec::new());
        self.until(|_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).unwrap();
                if sent == data.len() {
                    socket.close();
                }
            }
            while socket.can_recv() {
                let all = |part: &mut [u8]| (part.len(), part.to_vec());
                received.extend(socket.recv(all).unwrap());
            }
            let over = !socket.is_open() || (!socket.may_recv() && sent == data.len());
            over.then_some(())
        });
        received
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n ^ n >> 8) as u8).collect()
}

#[test]
fn connections_lead_to_the_host_and_to_the_guest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // An echo server, which begins to send when all has come.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        stream.write_all(&data).unwrap();
    });
    let forward = Listening::at("tcp::0-:22".parse().unwrap()).unwrap();
    let address = forward.address().unwrap();
    let mut guest = Guest::new(vec![forward]);
    let handle = guest.tcp();
    let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(handle);
    let to = (PEER_IP, port);
    socket
        .connect(guest.interface.context(), to, 40_000)
        .unwrap();
    let data = noise(1_000_000);
    assert!(guest.exchange(handle, &data) == data);
    server.join().unwrap();
    // Nobody listens there any more.
    let handle = guest.tcp();
    let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(handle);
    socket
        .connect(guest.interface.context(), to, 40_001)
        .unwrap();
    guest.until(|_, sockets| {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        (!socket.is_open()).then_some(())
    });
    // From the host to the guest.
    let handle = guest.tcp();
    guest
        .sockets
        .get_mut::<tcp::Socket<'_>>(handle)
        .listen(22)
        .unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&noise(300_000)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        data
    });
    assert!(guest.exchange(handle, b"hello") == noise(300_000));
    guest.until(|_, _| client.is_finished().then_some(()));
    assert_eq!(client.join().unwrap(), b"hello");
}

#[test]
fn datagrams_come_back() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut data = [0; 100];
        let (len, from) = server.recv_from(&mut data).unwrap();
        data[..len].reverse();
        server.send_to(&data[..len], from).unwrap();
    });
    let mut guest = Guest::new(Vec::new());
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 500]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(5000).unwrap();
    socket.send_slice(b"abc", (PEER_IP, port)).unwrap();
    let handle = guest.sockets.add(socket);
    let (data, from) = guest.until(|_, sockets| {
        let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
        let (data, from) = socket.recv().ok()?;
        Some((data.to_vec(), from.endpoint))
    });
    assert_eq!((data, from), (b"cba".to_vec(), (PEER_IP, port).into()));
    thread.join().unwrap();
}

#[test]
fn a_name_server_is_found() {
    let text = "# nameserver 1.1.1.1\nsearch x\nnameserver ::1\nnameserver  9.9.9.9 \n";
    assert_eq!(first_server(text), Some(Ipv4Addr::new(9, 9, 9, 9)));
    assert_eq!(first_server("nameserver\n"), None);
}

#[test]
fn forwards_parse() {
    let forward: Forward = "tcp::2222-:22".parse().unwrap();
    assert_eq!(forward.to_string(), "tcp:127.0.0.1:2222-:22");
    assert_eq!(forward.to_string().parse(), Ok(forward));
    let all: Forward = "tcp:0.0.0.0:80-10.0.2.15:8080".parse().unwrap();
    assert_eq!((all.host.port(), all.guest), (80, 8080));
    for wrong in [
        "",
        "udp::1-:2",
        "tcp::1",
        "tcp:x:1-:2",
        "tcp::1-1.2.3.4:2",
        "tcp::1-:0",
    ] {
        assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
    }
}
