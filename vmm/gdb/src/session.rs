//! The debugger's side: connections, and the protocol's states.
//!
//! One thread accepts connections, one for each reads it, and both bring what comes to the
//! session's thread, which also hears of the machine's stops. So there is one place where
//! everything happens in order.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vmm_base::{Reason, thread};
use vmm_machine::StopHandle;

use super::event::{Cause, Event};
use super::greeting::{Greeting, Guess};
use super::isa::Isa;
use super::observer::{Observer, Order, StopRequests};
use super::target::{Abilities, MachineGone, Target};
use super::{Notice, Ready, Server};

/// The number of events that may wait; threads with more of them wait.
const EVENTS: usize = 64;
/// The time for which a debugger may leave what it is sent unread before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for which a client may say nothing after it has connected: others wait meanwhile.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the threads; the returned observer is to be given to the machine, which has these
/// abilities.
pub(super) fn start<I: Isa>(
    server: Server,
    abilities: Abilities,
    machine: StopHandle,
) -> io::Result<Observer> {
    let Server {
        listener,
        notice,
        ready,
    } = server;
    let (events, heard) = sync_channel(EVENTS);
    let (order, orders) = std::sync::mpsc::channel();
    // Nothing is ever written here: the end of the pipe tells that the session has ended.
    let (ended, over) = io::pipe()?;
    // Whoever was there when it was looked at may be gone when accepted: then nobody is waited for.
    listener.set_nonblocking(true)?;
    // The first thing the machine does is to wait.
    let interrupt = Arc::new(AtomicBool::new(true));
    let session = Session::<I> {
        target: Target::new(abilities, order, Arc::clone(&interrupt)),
        interrupt: Arc::clone(&interrupt),
        asked: true,
        machine,
        heard,
        events: events.clone(),
        over,
        notice,
        ready,
        told: false,
        connection: 0,
        waiting: None,
        bytes: Vec::new().into_iter(),
    };
    let accepted = events.clone();
    thread::spawn("gdb accept", move || accept(&listener, &accepted, &ended))?;
    let thread = thread::spawn("gdb", move || session.run())?;
    Ok(Observer {
        interrupt,
        events,
        orders: Some(orders),
        wanted: StopRequests::default(),
        thread: Some(thread),
    })
}

/// Tells of everybody who connects, until the other end of `ended` is closed.
fn accept(listener: &TcpListener, events: &SyncSender<Event>, ended: &PipeReader) {
    loop {
        // Waited for together: nothing else would end a wait for connections with the session.
        let mut polled = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) if !polled[1].revents().is_empty() => return,
            Ok(_) | Err(Errno::INTR) => {}
            // The host is short of something, such as file descriptors: trying again at once would
            // only keep it busy.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if events.send(Event::Connected(stream)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn read(mut stream: TcpStream, number: u64, events: &SyncSender<Event>) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if events
                    .send(Event::Bytes(number, buffer[..n].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Without a session nobody needs to know.
    let _ = events.send(Event::Closed(number));
}

/// A connection that sends what belongs together in one piece.
struct Wire(io::BufWriter<TcpStream>);

impl Connection for Wire {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.0.write_all(&[byte])?;
        // An acknowledgement is a message of its own: the debugger waits for it.
        if byte == b'+' { self.0.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

type Stub<I> = GdbStubStateMachine<'static, Target<I>, Wire>;
type StubError = GdbStubError<MachineGone, io::Error>;

/// An input of the session's state machine.
enum Input {
    Byte(u8),
    Stopped(Cause, usize),
    Closed,
    Ended(Reason),
}

/// The way in which a debugger left.
enum SessionEnd {
    /// It was no debugger: nothing is to change.
    Nobody,
    /// The guest is to run on.
    Alone,
    /// The run is to end.
    Kill,
    /// The run is over.
    Over,
}

/// The kind of client that has connected.
enum Greeted {
    /// A debugger, with these bytes to be looked at.
    Debugger(Vec<u8>),
    /// Somebody else.
    Other,
    /// The run is over, so that it does not matter.
    Over,
}

struct Session<I: Isa> {
    target: Target<I>,
    /// Has the machine's observer take the next interrupt for ours.
    interrupt: Arc<AtomicBool>,
    /// It was asked for, and the machine is not halted yet.
    asked: bool,
    machine: StopHandle,
    heard: Receiver<Event>,
    events: SyncSender<Event>,
    /// Open as long as the session lasts.
    over: PipeWriter,
    notice: Notice,
    /// Waits for the machine to stand still.
    ready: Option<Ready>,
    /// The user knows of connections that were no debugger's.
    told: bool,
    /// Number of the present connection.
    connection: u64,
    /// The client that connected meanwhile, and comes next: often the same debugger again, before
    /// it was noticed that it had left.
    waiting: Option<TcpStream>,
    /// Its bytes that came and were not looked at.
    bytes: std::vec::IntoIter<u8>,
}

impl<I: Isa> Session<I> {
    fn run(mut self) {
        while let Some(stream) = self.visitor() {
            let goes_on = match self.serve(stream) {
                SessionEnd::Nobody => true,
                SessionEnd::Alone => self.release(),
                SessionEnd::Kill => {
                    // Only a machine that is halted takes orders.
                    if self.halt() {
                        self.target.send(Order::End);
                    }
                    false
                }
                SessionEnd::Over => false,
            };
            if !goes_on {
                break;
            }
        }
        // The thread that accepts connections hears of it.
        drop(self.over);
    }

    /// Returns whoever connects next; `None` when the run is over.
    fn visitor(&mut self) -> Option<TcpStream> {
        if let Some(stream) = self.waiting.take() {
            return Some(stream);
        }
        loop {
            match self.heard.recv() {
                Ok(Event::Connected(stream)) => return Some(stream),
                // An interrupt that was asked for earlier: the machine waits, and the next debugger
                // finds it halted.
                Ok(Event::Stopped { cause, .. }) => self.stand_or_go_on(cause),
                Ok(Event::Ended(_)) | Err(_) => return None,
                Ok(Event::Bytes(..) | Event::Closed(_)) => {}
            }
        }
    }

    /// Sees to a stop while no debugger is there.
    fn stand_or_go_on(&mut self, cause: Cause) {
        self.note_stop();
        // Nobody is there to go back from the end of the history, so that the run is over.
        if let Cause::Arrival(_) = cause {
            self.target.halted = false;
            // Fails if the run is over in another way.
            self.target.send(Order::Resume);
        }
    }

    /// Returns the next thing that concerns the present connection.
    fn next(&mut self) -> Input {
        loop {
            if let Some(byte) = self.bytes.next() {
                return Input::Byte(byte);
            }
            match self.heard.recv() {
                Ok(Event::Bytes(number, bytes)) if number == self.connection => {
                    self.bytes = bytes.into_iter();
                }
                Ok(Event::Closed(number)) if number == self.connection => return Input::Closed,
                // Of an earlier connection, whose thread had this still to send.
                Ok(Event::Bytes(..) | Event::Closed(_)) => {}
                // One at a time, and one in the queue: whoever comes after finds the connection
                // closed.
                Ok(Event::Connected(stream)) => {
                    self.waiting.get_or_insert(stream);
                }
                Ok(Event::Stopped { cause, current }) => return Input::Stopped(cause, current),
                Ok(Event::Ended(reason)) => return Input::Ended(reason),
                // Does not happen: the session holds a sender itself.
                Err(_) => return Input::Ended(Reason::Stopped),
            }
        }
    }

    /// Asks the machine to halt, which [`Event::Stopped`] will tell.
    fn interrupt(&mut self) {
        if !self.target.halted && !self.asked {
            self.asked = true;
            // Before the interrupt: the observer looks at the flag when it is called.
            self.interrupt.store(true, Ordering::Release);
            self.machine.interrupt();
        }
    }

    fn note_stop(&mut self) {
        // An interrupt that crossed with the stop would stop the guest again, after the debugger
        // that asked has gone.
        self.interrupt.store(false, Ordering::Release);
        self.asked = false;
        self.target.halted = true;
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }

    /// Halts the machine; returns `false` if the run is over instead.
    fn halt(&mut self) -> bool {
        self.interrupt();
        while !self.target.halted {
            match self.heard.recv() {
                Ok(Event::Stopped { .. }) => self.note_stop(),
                Ok(Event::Connected(stream)) => {
                    self.waiting.get_or_insert(stream);
                }
                Ok(Event::Ended(_)) | Err(_) => return false,
                Ok(Event::Bytes(..) | Event::Closed(_)) => {}
            }
        }
        true
    }

    /// Takes back all that the debugger set and lets the guest run; returns `false` if the run is
    /// over.
    fn release(&mut self) -> bool {
        if !self.halt() {
            return false;
        }
        let cleared = self.target.ask(|halted, wanted| wanted.clear(halted));
        self.target.halted = false;
        cleared.is_ok() && self.target.send(Order::Resume)
    }

    /// Speaks to one debugger until it leaves.
    fn serve(&mut self, stream: TcpStream) -> SessionEnd {
        // By this number what earlier connections have left in the channel is told apart.
        self.connection += 1;
        self.bytes = Vec::new().into_iter();
        let left = match self.greet(&stream) {
            Ok(Greeted::Debugger(first)) if self.halt() => {
                self.bytes = first.into_iter();
                self.open(&stream).and_then(|stub| self.talk(stub))
            }
            Ok(Greeted::Debugger(_) | Greeted::Over) => Ok(SessionEnd::Over),
            Ok(Greeted::Other) => Ok(SessionEnd::Nobody),
            Err(error) => {
                (self.notice)(&format!("a debugger cannot connect: {error}"));
                Ok(SessionEnd::Nobody)
            }
        };
        // The peer may have closed it already.
        let _ = stream.shutdown(Shutdown::Both);
        left.unwrap_or_else(|error| {
            tracing::warn!("the debugger's connection was closed: {error}");
            SessionEnd::Alone
        })
    }

    /// Finds out who has connected, with the machine left as it is. Returns the first bytes of a
    /// debugger, if it is one.
    fn greet(&mut self, stream: &TcpStream) -> io::Result<Greeted> {
        let (reader, events, number) = (stream.try_clone()?, self.events.clone(), self.connection);
        // Not joined: it ends when `serve` shuts the connection down.
        thread::spawn("gdb read", move || read(reader, number, &events))?;
        let mut greeting = Greeting::default();
        let deadline = Instant::now() + GREETING_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(Event::Bytes(number, bytes)) if number == self.connection => {
                    match greeting.hear(&bytes) {
                        Guess::Unknown => {}
                        Guess::Debugger(first) => return Ok(Greeted::Debugger(first)),
                        Guess::Other => break,
                    }
                }
                Ok(Event::Closed(number)) if number == self.connection => break,
                Ok(Event::Bytes(..) | Event::Closed(_)) => {}
                Ok(Event::Connected(stream)) => {
                    self.waiting.get_or_insert(stream);
                }
                Ok(Event::Stopped { .. }) => self.note_stop(),
                Ok(Event::Ended(_)) => return Ok(Greeted::Over),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if !std::mem::replace(&mut self.told, true) {
            (self.notice)(
                "someone connected to the debugger's port and sent no packet of gdb's protocol, which changes nothing; \
                 a debugger is still waited for (this is said once)",
            );
        }
        Ok(Greeted::Other)
    }

    fn open(&mut self, stream: &TcpStream) -> Result<Stub<I>, Box<dyn std::error::Error>> {
        // Packets are small, and each is waited for.
        stream.set_nodelay(true)?;
        // A debugger that does not read must not hold up the session's thread, and with it the
        // machine, for good.
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let wire = Wire(io::BufWriter::new(stream.try_clone()?));
        let stub = GdbStub::builder(wire).build()?;
        stub.run_state_machine(&mut self.target)
            .map_err(|error| error.to_string().into())
    }

    fn talk(&mut self, mut stub: Stub<I>) -> Result<SessionEnd, Box<dyn std::error::Error>> {
        loop {
            stub = match stub {
                GdbStubStateMachine::Disconnected(inner) => {
                    return Ok(match inner.get_reason() {
                        DisconnectReason::Kill => SessionEnd::Kill,
                        DisconnectReason::Disconnect => SessionEnd::Alone,
                        DisconnectReason::TargetExited(_)
                        | DisconnectReason::TargetTerminated(_) => SessionEnd::Over,
                    });
                }
                GdbStubStateMachine::CtrlCInterrupt(inner) => {
                    self.interrupt();
                    inner.interrupt_handled(
                        &mut self.target,
                        // The stop itself is reported when the machine has come to it.
                        None::<MultiThreadStopReason<I::Address>>,
                    )
                }
                waiting => match self.next() {
                    Input::Closed => return Ok(SessionEnd::Alone),
                    Input::Ended(reason) => {
                        self.farewell(waiting, reason);
                        return Ok(SessionEnd::Over);
                    }
                    Input::Byte(byte) => self.pump(waiting, byte),
                    Input::Stopped(cause, current) => self.report(waiting, cause, current),
                },
            }
            .map_err(|error| error.to_string())?;
        }
    }

    fn pump(&mut self, stub: Stub<I>, byte: u8) -> Result<Stub<I>, StubError> {
        match stub {
            GdbStubStateMachine::Idle(inner) => inner.incoming_data(&mut self.target, byte),
            GdbStubStateMachine::Running(inner) => inner.incoming_data(&mut self.target, byte),
            other => Ok(other),
        }
    }

    fn report(
        &mut self,
        stub: Stub<I>,
        cause: Cause,
        current: usize,
    ) -> Result<Stub<I>, StubError> {
        self.note_stop();
        match stub {
            GdbStubStateMachine::Running(inner) => {
                inner.report_stop(&mut self.target, cause.reason(current))
            }
            other => Ok(other),
        }
    }

    /// Tells a debugger which waits for a stop that the run is over.
    fn farewell(&mut self, stub: Stub<I>, reason: Reason) {
        if let GdbStubStateMachine::Running(inner) = stub {
            // As the exit code of a program: 0 for an end that the guest or its console wanted.
            let code = u8::from(!matches!(reason, Reason::PowerOff | Reason::ConsoleStop));
            // A debugger that has left needs no answer.
            let _ = inner.report_stop(
                &mut self.target,
                MultiThreadStopReason::<I::Address>::Exited(code),
            );
        }
    }
}
