//! A web server of one folder, on the loopback interface: what firmware fetches by HTTP boot.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A server that runs until the program ends.
#[derive(Debug)]
pub struct Web {
    port: u16,
    served: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Serves the files of `folder`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn serve(folder: &Path) -> Result<Web> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
        let web = Web { port: listener.local_addr()?.port(), served: Arc::default() };
        let (folder, served) = (folder.to_owned(), web.served.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, served) = (folder.clone(), served.clone());
                std::thread::spawn(move || drop(answer(stream, &folder, &served)));
            }
        });
        Ok(web)
    }

    /// Where a guest of QEMU's own network finds a file.
    pub fn uri(&self, file: &str) -> String {
        format!("http://10.0.2.2:{}/{file}", self.port)
    }

    /// Requests whose answer went out whole: `GET /node.efi`.
    pub fn served(&self) -> Vec<String> {
        self.served.lock().map(|served| served.clone()).unwrap_or_default()
    }
}

fn answer(stream: TcpStream, folder: &Path, served: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while stream.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let file = inside(folder, path).and_then(|path| File::open(path).ok());
        let to = stream.get_mut();
        let Some(file) = file else {
            write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let size = file.metadata()?.len();
        write!(to, "HTTP/1.1 200 OK\r\nContent-Type: application/efi\r\nContent-Length: {size}\r\n\r\n")?;
        if method == "GET" {
            io::copy(&mut file.take(size), to)?;
        }
        if let Ok(mut served) = served.lock() {
            served.push(format!("{method} {path}"));
        }
    }
}

/// The file of a path in the folder; none that leads out of it.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let good = path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    good.then(|| folder.join(path)).filter(|file| file.is_file())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test's own folder")]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_folder_are_served_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("in/a"), "hello").unwrap();
        std::fs::write(folder.path().join("out"), "secret").unwrap();
        let web = Web::serve(&folder.path().join("in")).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
        let mut said = String::new();
        for request in ["HEAD /a", "GET /../out", "GET /a"] {
            write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_string(&mut said).unwrap();
        assert!(
            said.ends_with("Content-Length: 5\r\n\r\nhello") && said.contains("404") && !said.contains("secret"),
            "{said}"
        );
        assert_eq!(web.served(), ["HEAD /a", "GET /a"]);
    }
}
