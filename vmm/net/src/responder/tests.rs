//! The responder against `smoltcp`'s stack as the guest.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the tests choose small numbers"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint};

use super::*;
use crate::folder::File;
use crate::spec::{GUEST_IP, MTU};

const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const STEP_NS: u64 = 1_000_000;

/// A cable between a stack and a responder, on which frames may be lost.
struct Cable {
    responder: Responder,
    folder: Arc<Folder>,
    now_ns: u64,
    /// One in so many frames for the guest is lost, if any is.
    lossy: Option<u64>,
    frames: u64,
    /// Whether the responder is replaced by one of its saved state, before each frame.
    saved: bool,
    log: Vec<Vec<u8>>,
}

impl Cable {
    fn give(&mut self) -> Option<Vec<u8>> {
        if self.saved {
            let text = serde_json::to_string(&self.responder.save()).unwrap();
            self.responder = Responder::new(self.folder.clone());
            let state = serde_json::from_str(&text).unwrap();
            self.responder.restore(&state).unwrap();
        }
        loop {
            let frame = self.responder.give(self.now_ns)?;
            assert!(frame.len() <= MAX_FRAME);
            self.frames += 1;
            self.log.push(frame.clone());
            if self
                .lossy
                .is_none_or(|every| !self.frames.is_multiple_of(every))
            {
                return Some(frame);
            }
        }
    }
}

#[derive(Clone)]
struct Port(Rc<RefCell<Cable>>);

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sent(Port);

impl TxToken for Sent {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        let mut cable = self.0.0.borrow_mut();
        let now_ns = cable.now_ns;
        cable.responder.take(now_ns, &frame);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent)> {
        let frame = self.0.borrow_mut().give()?;
        Some((Received(frame), Sent(self.clone())))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent> {
        Some(Sent(self.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + usize::from(MTU);
        capabilities
    }
}

struct Guest {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
}

fn big() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n ^ n >> 8) as u8).collect()
}

impl Guest {
    fn new() -> Self {
        let file = |name: &str, data: Vec<u8>| File {
            name: name.into(),
            data,
        };
        let folder = Arc::new(Folder::of(vec![
            file("big", big()),
            file("two-blocks", big()[..1024].to_vec()),
        ]));
        let mut port = Port(Rc::new(RefCell::new(Cable {
            responder: Responder::new(folder.clone()),
            folder,
            now_ns: 0,
            lossy: None,
            frames: 0,
            saved: false,
            log: Vec::new(),
        })));
        let config = Config::new(EthernetAddress(GUEST_MAC).into());
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST_IP.into(), 24)).unwrap();
        });
        Self {
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    fn cable(&self) -> std::cell::RefMut<'_, Cable> {
        self.port.0.borrow_mut()
    }

    /// Lets a millisecond pass.
    fn step(&mut self) {
        let now_ns = {
            let mut cable = self.cable();
            cable.now_ns += STEP_NS;
            cable.now_ns
        };
        let now = Instant::from_micros((now_ns / 1000) as i64);
        self.interface.poll(now, &mut self.port, &mut self.sockets);
    }

    fn socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 20_000]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// Connects to `port`, sends `data` and closes, while it receives up to the end.
    fn exchange(&mut self, port: u16, data: &[u8]) -> Vec<u8> {
        let handle = self.socket();
        let remote = IpEndpoint::new(IpAddress::Ipv4(PEER_IP), port);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let local = 40_000 + port;
        socket
            .connect(self.interface.context(), remote, local)
            .unwrap();
        let (mut sent, mut received) = (0, Vec::new());
        for _ in 0..60_000 {
            self.step();
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).unwrap();
                if sent == data.len() && port == ECHO {
                    socket.close();
                }
            }
            while socket.can_recv() {
                socket
                    .recv(|part| {
                        received.extend_from_slice(part);
                        (part.len(), ())
                    })
                    .unwrap();
            }
            if !socket.may_recv() && sent == data.len() {
                socket.close();
                break;
            }
        }
        for _ in 0..3000 {
            self.step();
        }
        received
    }
}

const ECHO: u16 = 7;

#[test]
fn a_file_comes_over_http() {
    for (lossy, saved) in [(None, false), (None, true), (Some(13), false)] {
        let mut guest = Guest::new();
        guest.cable().lossy = lossy;
        guest.cable().saved = saved;
        let answer = guest.exchange(80, b"GET /big HTTP/1.1\r\n\r\n");
        let start = answer.len() - big().len();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(answer[start..] == big(), "{lossy:?} {saved}");
        let cable = guest.cable();
        let left = &cable.responder.state.connections;
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(cable.responder.next_ns(), None);
    }
}

#[test]
fn what_is_sent_comes_back() {
    for lossy in [None, Some(7)] {
        let mut guest = Guest::new();
        guest.cable().lossy = lossy;
        assert!(guest.exchange(ECHO, &big()) == big(), "{lossy:?}");
        assert!(guest.cable().responder.state.connections.is_empty());
    }
}

#[test]
fn the_same_frames_come_from_a_saved_state() {
    let log = |saved| {
        let mut guest = Guest::new();
        guest.cable().saved = saved;
        guest.exchange(80, b"GET /two-blocks HTTP/1.1\r\n\r\n");
        guest.exchange(ECHO, b"hello");
        std::mem::take(&mut guest.cable().log)
    };
    let frames = log(false);
    assert!(frames.len() > 8);
    assert_eq!(log(true), frames);
}

#[test]
fn a_port_without_a_service_refuses() {
    let mut guest = Guest::new();
    assert_eq!(guest.exchange(81, b""), b"");
    assert!(guest.cable().responder.state.connections.is_empty());
}

/// Sends datagrams from one port to `port` of the peer, or to where the last came from; what comes
/// back.
fn datagrams(port: u16, next: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut guest = Guest::new();
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8192]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(5000).unwrap();
    let handle = guest.sockets.add(socket);
    let (mut to, mut all) = (IpEndpoint::new(PEER_IP.into(), port), Vec::<Vec<u8>>::new());
    while let Some(packet) = next(all.last().map(Vec::as_slice)) {
        let socket = guest.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(&packet, to).unwrap();
        for _ in 0..20 {
            guest.step();
        }
        let socket = guest.sockets.get_mut::<udp::Socket<'_>>(handle);
        let Ok((data, from)) = socket.recv() else {
            break;
        };
        to = from.endpoint;
        all.push(data.to_vec());
    }
    all
}

#[test]
fn a_file_comes_over_tftp() {
    let blocks = datagrams(69, |last| match last {
        None => Some(b"\0\x01two-blocks\0octet\0".to_vec()),
        Some(block) => Some([&[0, 4], &block[2..4]].concat()),
    });
    // The last block is empty, as the others are full.
    assert_eq!(blocks.len(), 3);
    let data: Vec<u8> = blocks.iter().flat_map(|b| b[4..].to_vec()).collect();
    assert_eq!(data, big()[..1024]);
    for name in ["../secret", "none"] {
        let request = format!("\0\x01{name}\0octet\0");
        let answer = datagrams(69, |last| last.is_none().then(|| request.clone().into()));
        assert_eq!(answer[0][..4], [0, 5, 0, 1]);
    }
}

#[test]
fn names_are_known_or_not() {
    let ask = |name: &str, kind: u8| {
        let mut query = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.push(name.len() as u8);
        query.extend(name.as_bytes());
        query.extend([0, 0, kind, 0, 1]);
        let mut answers = datagrams(53, |last| last.is_none().then(|| query.clone()));
        answers.remove(0)
    };
    let answer = ask("PEER", 1);
    assert_eq!((answer[..2].to_vec(), answer[3] & 15), (vec![1, 2], 0));
    assert_eq!(answer[answer.len() - 4..], PEER_IP.octets());
    assert_eq!(ask("other", 1)[3] & 15, 3);
    let none = ask("peer", 28);
    assert_eq!((none[3] & 15, none[7]), (0, 0));
}

#[test]
fn the_guest_gets_its_address() {
    let mut guest = Guest::new();
    guest
        .interface
        .update_ip_addrs(|addresses| addresses.clear());
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    for _ in 0..5000 {
        guest.step();
        let socket = guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
        if let Some(dhcpv4::Event::Configured(found)) = socket.poll() {
            assert_eq!(found.address.address(), GUEST_IP);
            assert_eq!(found.address.prefix_len(), 24);
            assert_eq!(found.router, Some(PEER_IP));
            assert_eq!(found.dns_servers[..], [PEER_IP]);
            return;
        }
    }
    panic!("no address came");
}

fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let ports = prop_oneof![
        Just(7_u16),
        Just(53),
        Just(67),
        Just(69),
        Just(80),
        any::<u16>()
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    let flags = prop_oneof![
        Just(2_u8),
        Just(16),
        Just(17),
        Just(24),
        Just(4),
        any::<u8>()
    ];
    let tcp = (
        ports.clone(),
        1..4_u16,
        any::<u32>(),
        any::<u32>(),
        flags,
        any::<u16>(),
        payload,
    );
    let segment = tcp.prop_map(|(dst, src, seq, ack, flags, window, payload)| {
        let mut packet = [src, dst].map(u16::to_be_bytes).concat();
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        packet.extend([0x50, flags]);
        packet.extend(window.to_be_bytes());
        packet.extend([0, 0, 0, 0]);
        packet.extend(payload);
        packet
    });
    (segment, any::<bool>()).prop_map(|(mut packet, summed)| {
        if summed {
            let mut tcp = smoltcp::wire::TcpPacket::new_unchecked(&mut packet[..]);
            tcp.fill_checksum(&GUEST_IP.into(), &PEER_IP.into());
        }
        let header = Ipv4Repr {
            src_addr: GUEST_IP,
            dst_addr: PEER_IP,
            next_header: IpProtocol::Tcp,
            payload_len: packet.len(),
            hop_limit: 64,
        };
        let mut frame = [&PEER_MAC[..], &GUEST_MAC, &[8, 0]].concat();
        frame.resize(34, 0);
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.set_version(4);
        frame.extend(&packet);
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        header.emit(&mut ip, &ChecksumCapabilities::default());
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_frame_makes_a_state_that_cannot_be(frames in prop::collection::vec(
        prop_oneof![3 => hostile_frame(), 1 => prop::collection::vec(any::<u8>(), 0..80)], 1..80)) {
        let folder = Arc::new(Folder::of(vec![File { name: "a".into(), data: vec![1; 5000] }]));
        let mut responder = Responder::new(folder.clone());
        let mut now_ns = 0;
        for frame in frames {
            responder.take(now_ns, &frame);
            for _ in 0..3 {
                responder.give(now_ns);
            }
            now_ns += 100_000_000;
            let saved = responder.save();
            let mut other = Responder::new(folder.clone());
            prop_assert_eq!(other.restore(&saved), Ok(()));
            prop_assert_eq!(other.save(), saved);
        }
    }
}
