//! Answers to HTTP requests (RFC 9112): files of a folder, and lists of their names.

use serde::{Deserialize, Serialize};

use super::service::MAX_REQUEST;
use crate::folder::Folder;

/// The most octets of an answer that are not those of a file.
const MAX_OWN: usize = 256 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Status, fields, and a body that is no file.
    own: Vec<u8>,
    /// The number of the file that follows.
    file: Option<usize>,
    /// Its size.
    size: u64,
}

impl Answer {
    pub(super) fn total(&self) -> u64 {
        (self.own.len() as u64).saturating_add(self.size)
    }

    /// Returns some of what there is from octet `at` on.
    pub(super) fn data<'a>(&'a self, at: u64, folder: &'a Folder) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        match at.checked_sub(self.own.len()) {
            None => self.own.get(at..),
            Some(at) => folder.file(self.file?)?.data.get(at..),
        }
    }

    pub(super) fn is_possible(&self, folder: &Folder) -> bool {
        let size = match self.file {
            Some(file) => folder.file(file).map(|file| file.data.len() as u64),
            None => Some(0),
        };
        self.own.len() <= MAX_OWN && size == Some(self.size)
    }
}

/// Returns an answer without a file.
fn own(status: &str, kind: &str, body: &str, only_head: bool) -> Answer {
    let mut own = head(status, kind, body.len() as u64);
    if !only_head {
        own.push_str(body);
    }
    Answer {
        own: own.into_bytes(),
        file: None,
        size: 0,
    }
}

fn head(status: &str, kind: &str, len: u64) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )
}

/// Returns the answer to what is no request.
pub(super) fn bad_request() -> Answer {
    own("400 Bad Request", "text/plain", "no request\n", false)
}

/// Returns the answer to a request, once it is complete.
pub(super) fn answer(request: &[u8], folder: &Folder) -> Option<Answer> {
    let complete = request.windows(4).any(|end| end == b"\r\n\r\n");
    if !complete {
        return (request.len() >= MAX_REQUEST).then(bad_request);
    }
    Some(answer_to(request, folder).unwrap_or_else(bad_request))
}

fn answer_to(request: &[u8], folder: &Folder) -> Option<Answer> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let only_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => {
            let status = "405 Method Not Allowed";
            return Some(own(status, "text/plain", "only GET and HEAD\n", false));
        }
    };
    let path = target.split(['?', '#']).next()?;
    let name = decoded(path.trim_start_matches('/'))?;
    if let Some(file) = folder.find(&name) {
        let size = folder.file(file)?.data.len() as u64;
        let kind = "application/octet-stream";
        return Some(Answer {
            own: head("200 OK", kind, size).into_bytes(),
            file: (!only_head).then_some(file),
            size: if only_head { 0 } else { size },
        });
    }
    let names = listed(&name, folder);
    // The list of a folder that is served and empty is empty, too.
    if names.is_empty() && !name.is_empty() {
        return Some(own(
            "404 Not Found",
            "text/plain",
            "no such file\n",
            only_head,
        ));
    }
    Some(own("200 OK", "text/plain", &names, only_head))
}

/// Returns the names of files whose names begin with `prefix`, a folder's, one a line.
fn listed(prefix: &str, folder: &Folder) -> String {
    let mut list = String::new();
    let inside = prefix.is_empty() || prefix.ends_with('/');
    let files = folder.files().iter().filter(|_| inside);
    for file in files.filter(|file| file.name.starts_with(prefix)) {
        // With room for the fields in front.
        if list.len() + file.name.len() + 1 > MAX_OWN - MAX_REQUEST {
            break;
        }
        list.push_str(&file.name);
        list.push('\n');
    }
    list
}

/// Returns a path without percent-encoding (RFC 3986, 2.1), if it is UTF-8 then.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::File;

    fn folder() -> Folder {
        let file = |name: &str, data: &str| File {
            name: name.into(),
            data: data.into(),
        };
        Folder::of(vec![file("a b", "one"), file("sub/c", "three")])
    }

    fn text(request: &str) -> String {
        let folder = folder();
        let answer = answer(request.as_bytes(), &folder).unwrap();
        assert!(answer.is_possible(&folder));
        let mut all = Vec::new();
        while (all.len() as u64) < answer.total() {
            all.extend(answer.data(all.len() as u64, &folder).unwrap());
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn requests_are_answered() {
        let get = |path: &str| text(&format!("GET {path} HTTP/1.1\r\nHost: peer\r\n\r\n"));
        assert!(get("/a%20b?x").ends_with("Content-Length: 3\r\nConnection: close\r\n\r\none"));
        assert!(get("/sub/c").ends_with("\r\n\r\nthree"));
        assert!(get("/").ends_with("\r\n\r\na b\nsub/c\n"));
        assert!(get("/sub/").ends_with("\r\n\r\nsub/c\n"));
        for missing in ["/sub", "/../etc/passwd", "/none", "/%2e%2e/x"] {
            assert!(get(missing).starts_with("HTTP/1.1 404"), "{missing}");
        }
        assert!(get("/%zz").starts_with("HTTP/1.1 400"));
        let only = text("HEAD /sub/c HTTP/1.0\r\n\r\n");
        assert!(only.contains("Content-Length: 5") && only.ends_with("\r\n\r\n"));
        assert!(text("PUT / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(text("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn a_request_is_waited_for_up_to_a_limit() {
        assert_eq!(answer(b"GET / HTTP/1.1\r\n", &folder()), None);
        assert!(answer(&[b'x'; MAX_REQUEST], &folder()).is_some());
    }
}
