//! Opens pages in Debian's Chromium and asks the page itself what became of it.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Watches for errors and requests from the first moment on.
const WATCH: &str = include_str!("watch.js");
/// Uses the page as a reader would and writes down what it sees.
const CHECK: &str = include_str!("check.js");
/// Far beyond what the slowest host takes to show a page.
const PATIENCE: Duration = Duration::from_secs(240);
/// The longest report of a page that makes sense.
const MAX_BODY: usize = 1 << 20;

/// How to open a page.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub dark: bool,
}

/// What the page said of itself after it was used. Also `fetched`: every path that the browser
/// asked for.
///
/// The page stands in a frame, since a browser's window cannot be as narrow as a telephone; the
/// frame's parent, which the policy of the page does not bind, sends back what the page says.
pub fn check(html: &str, view: View) -> Value {
    let parent = format!(
        "<!doctype html><link rel='icon' href='data:,'><body style='margin:0'>\
         <iframe src='/page' width='{}' height='900' style='border:0'></iframe><script>\
         addEventListener('message', (e) => fetch('/seen', {{ method: 'POST', body: e.data }}));</script>",
        view.width
    );
    let pages = [("/parent", parent), ("/page", instrument(html))];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/parent", listener.local_addr().unwrap());
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Browser::open(&address, profile.path(), view);
    let mut fetched = Vec::new();
    let mut seen = serve(&listener, &pages, &mut fetched, &mut browser);
    seen["fetched"] = fetched.into();
    seen
}

/// Answers the browser until it tells what the page saw.
fn serve(
    listener: &TcpListener,
    pages: &[(&str, String)],
    fetched: &mut Vec<String>,
    browser: &mut Browser,
) -> Value {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut waiting: VecDeque<TcpStream> = VecDeque::new();
    loop {
        assert!(
            Instant::now() < deadline,
            "the page was not done within {PATIENCE:?}; {}",
            browser.log()
        );
        if let Some(status) = browser.child.try_wait().unwrap() {
            panic!("Chromium ended with {status}; {}", browser.log());
        }
        match listener.accept() {
            Ok((stream, _)) => waiting.push_back(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        let Some(stream) = waiting.pop_front() else {
            continue;
        };
        // A browser opens connections ahead of need: one that says nothing gives way to the others.
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        if !matches!(stream.peek(&mut [0]), Ok(1..)) {
            if !matches!(stream.peek(&mut [0]), Ok(0)) {
                waiting.push_back(stream);
            }
            continue;
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match answer(stream, pages) {
            Ok((path, None)) => fetched.push(path),
            Ok((_, Some(body))) => return serde_json::from_slice(&body).unwrap(),
            Err(error) => panic!("the browser's request broke off: {error}"),
        }
    }
}

/// Answers one request: its path, and its body if it was a report.
fn answer(
    mut stream: TcpStream,
    pages: &[(&str, String)],
) -> io::Result<(String, Option<Vec<u8>>)> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0).min(MAX_BODY);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let page = pages
        .iter()
        .find(|(name, _)| *name == path)
        .map_or("", |page| &page.1);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok((path, line.starts_with("POST").then_some(body)))
}

/// The page with the watcher before and the check after everything of its own.
fn instrument(html: &str) -> String {
    assert_eq!(html.matches("<head>").count(), 1);
    let html = html.replacen("<head>", &format!("<head><script>{WATCH}</script>"), 1);
    let end = html.rfind("</body>").expect("the page has an end");
    format!("{}<script>{CHECK}</script>{}", &html[..end], &html[end..])
}

/// A browser that runs until this is dropped.
struct Browser {
    child: Child,
    log: PathBuf,
}

impl Browser {
    fn open(address: &str, profile: &Path, view: View) -> Self {
        let log = profile.join("log");
        let child = Command::new(chromium())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--window-size=1400,1000",
            ])
            // Nothing but the test could be found, let alone reached.
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!(
                "--user-data-dir={}",
                profile.join("profile").display()
            ))
            .arg(format!(
                "--blink-settings=preferredColorScheme={}",
                u32::from(!view.dark)
            ))
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("Chromium says:\n{log}")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end when this one does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The browser: `$CHROMIUM`, or the first of the usual names on the path.
fn chromium() -> PathBuf {
    if let Some(path) = std::env::var_os("CHROMIUM") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|path| path.is_file())
        .expect(
            "this test looks at a page in a real browser and found none: install Debian's package chromium, \
             or name a Chromium with the variable CHROMIUM",
        )
}
