//! A server of files on this machine, for what s2lab fetches.

use crate::harness::Home;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// The program that s2lab fetches files with.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// A server that answers until the test's process ends.
pub(crate) struct Served {
    address: String,
    files: Arc<Mutex<Files>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// The files by their paths.
type Files = BTreeMap<String, Vec<u8>>;

impl Served {
    /// Serves nothing yet. Returns None on a machine without apt, where nothing can be fetched.
    pub(crate) fn new(home: &Home) -> Option<Self> {
        if !std::path::Path::new(HELPER).is_file() {
            eprintln!("NOT CHECKED: the machine has no {HELPER}");
            return None;
        }
        // A proxy of the machine's does not lead here.
        home.write("apt.conf", "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (files, asked) = (Arc::new(Mutex::new(Files::new())), Arc::new(Mutex::new(vec![])));
        let (known, noted) = (files.clone(), asked.clone());
        let thread = std::thread::Builder::new();
        let serving = thread.spawn(move || {
            for stream in listener.incoming() {
                // A client that ends early is its own affair.
                let _ = stream.and_then(|stream| answer(stream, &known, &noted));
            }
        });
        serving.unwrap();
        Some(Self { address, files, asked })
    }

    /// Serves a file, and returns its address.
    pub(crate) fn serve(&self, path: &str, bytes: impl AsRef<[u8]>) -> String {
        self.files.lock().unwrap().insert(format!("/{path}"), bytes.as_ref().to_vec());
        self.url(path)
    }

    /// Returns the address of a file.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns the paths that were asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Answers one request (RFC 9112), and closes the connection.
fn answer(mut stream: TcpStream, files: &Mutex<Files>, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let file = files.lock().unwrap().get(path.split('?').next().unwrap_or_default()).cloned();
    let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
    let body = file.unwrap_or_default();
    asked.lock().unwrap().push(path);
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
