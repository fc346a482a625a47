//! Bytes from an address: `http`, `https` and `file`.
//!
//! What comes is not trusted here; [`super::blob_reader`] and the store check it. Failures are told apart,
//! because people mend them in different ways and only some are worth another try.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// Why an address gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection came about, or it broke.
    #[error("can't reach {host} for {what} ({why}); check the network, or use --offline if all was fetched before")]
    Network {
        /// Name and port.
        host: String,
        /// What was wanted, for people.
        what: String,
        /// The system's words.
        why: String,
    },
    /// The server does not have it.
    #[error("{what} is not at {url}")]
    NotFound {
        /// What was wanted.
        what: String,
        /// Address.
        url: String,
    },
    /// The server answered something else.
    #[error("{url} answered with status {status} when asked for {what}")]
    Status {
        /// What was wanted.
        what: String,
        /// Address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The address itself is wrong.
    #[error("{url} is no address to fetch {what} from ({why})")]
    Address {
        /// What was wanted.
        what: String,
        /// Address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// More or fewer bytes came than were announced.
    #[error("{what} from {url} is {}: {found} bytes came, {expected} are right", if found < expected { "truncated" } else { "too long" })]
    Size {
        /// What was wanted.
        what: String,
        /// Address.
        url: String,
        /// Bytes that came; where too many came, how many were read until then.
        found: u64,
        /// Bytes that are right.
        expected: u64,
    },
}

impl Error {
    /// Whether another try may go better.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Network { .. } => true,
            Error::Size { found, expected, .. } => found < expected,
            Error::Status { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            Error::NotFound { .. } | Error::Address { .. } => false,
        }
    }
}

/// Makes connections, and keeps them open for the next file.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    /// Pauses before the second, third ... try; their number is the number of further tries.
    pauses: Vec<Duration>,
}

impl Default for Client {
    fn default() -> Self {
        Client::with_pauses([500, 2000, 5000].map(Duration::from_millis).to_vec())
    }
}

impl Client {
    /// A client that tries again after each of these pauses.
    pub fn with_pauses(pauses: Vec<Duration>) -> Client {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            // A `.gz` must arrive as it is; its digest is that of the packed bytes.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_idle_connections_per_host(8)
            .user_agent(concat!("bedplate/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Client { agent, pauses }
    }

    /// Opens `url` once. `what` names it for people.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn open(&self, url: &str, what: &str) -> Result<Box<dyn Read + Send>, Error> {
        if let Some(path) = url.strip_prefix("file:") {
            return open_file(path, url, what);
        }
        let response = self.agent.get(url).call().map_err(|e| classify(&e, url, what))?;
        match response.status().as_u16() {
            200 => {
                let (url, what) = (url.to_owned(), what.to_owned());
                Ok(Box::new(Body { inner: response.into_body().into_reader(), url, what }))
            }
            404 | 410 => Err(Error::NotFound { what: what.into(), url: url.into() }),
            status => Err(Error::Status { what: what.into(), url: url.into(), status }),
        }
    }

    /// Runs `attempt`, again after a pause while it fails in a way that may pass.
    ///
    /// # Errors
    /// As the last try.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        for pause in &self.pauses {
            match attempt() {
                Err(e) if find(&e).is_some_and(Error::is_passing) => {
                    tracing::debug!("again after {pause:?}: {e:#}");
                    std::thread::sleep(*pause);
                }
                done => return done,
            }
        }
        attempt()
    }
}

/// The fetch error inside an error, also where it went through a reader.
pub fn find(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|e| {
        e.downcast_ref::<Error>().or_else(|| e.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Error>())
    })
}

/// A response's bytes; a connection that breaks under way is a network error like any other.
struct Body<R> {
    inner: R,
    url: String,
    what: String,
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|e| {
            let error = Error::Network { host: host(&self.url), what: self.what.clone(), why: e.to_string() };
            io::Error::new(e.kind(), error)
        })
    }
}

fn open_file(path: &str, url: &str, what: &str) -> Result<Box<dyn Read + Send>, Error> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { what: what.into(), url: url.into() }),
        Err(e) => Err(Error::Address { what: what.into(), url: url.into(), why: e.to_string() }),
    }
}

fn classify(error: &ureq::Error, url: &str, what: &str) -> Error {
    use ureq::Error as E;
    match error {
        E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::RequireHttpsOnly(_) => {
            Error::Address { what: what.into(), url: url.into(), why: error.to_string() }
        }
        other => Error::Network { host: host(url), what: what.into(), why: other.to_string() },
    }
}

fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    // An address may carry a password.
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}
