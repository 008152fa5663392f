//! A debugger that speaks the protocol byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::ENTRY;

/// A debugger.
pub(super) struct Client(pub TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(stream)
    }

    pub fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}").unwrap();
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Returns the next packet, with repetitions spelled out.
    pub fn packet(&mut self) -> String {
        while self.byte() != b'$' {}
        let mut text = String::new();
        loop {
            match self.byte() {
                b'#' => break,
                b'*' => {
                    let (last, more) = (text.pop().unwrap(), self.byte() - 29);
                    text.extend(std::iter::repeat_n(last, usize::from(more) + 1));
                }
                byte => text.push(byte.into()),
            }
        }
        // The checksum.
        self.byte();
        self.byte();
        self.0.write_all(b"+").unwrap();
        text
    }

    pub fn run_and_interrupt(&mut self, packet: &str) {
        self.send(packet);
        thread::sleep(Duration::from_millis(50));
        self.0.write_all(b"\x03").unwrap();
        assert!(self.packet().starts_with("T02"));
    }

    pub fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.packet()
    }

    /// Reads a register's value.
    pub fn register(&mut self, n: usize) -> u64 {
        let text = self.ask(&format!("p{n:x}"));
        let bytes = (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..][..2], 16));
        bytes
            .rev()
            .fold(0, |v, byte| v << 8 | u64::from(byte.unwrap()))
    }

    pub fn pc(&mut self) -> u32 {
        self.register(15) as u32 - ENTRY
    }
}
