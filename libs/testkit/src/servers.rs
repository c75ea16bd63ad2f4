//! The real NATS and PostgreSQL of this test run.
//!
//! With nextest every test is a process of its own, so "shared" means shared between processes: the address stands in
//! a file beside the build output, written by `deploy/local/servers.sh`, whose lock makes the first test start the
//! servers and all others wait for them.

use std::fmt;
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use url::Url;

const NATS_VARIABLE: &str = "SYNCLINE_NATS_URL";
const DATABASE_VARIABLE: &str = "SYNCLINE_DATABASE_URL";
/// A server on loopback that does not greet within this time is not there.
const GREETING_WAIT: Duration = Duration::from_secs(2);

/// Where the servers listen. The URLs carry the credentials, hence no `Debug` of them.
#[derive(Clone)]
pub struct Servers {
    /// `nats://user:password@host:port`; see [`nats_options`] for connecting with it.
    pub nats_url: String,
    /// `postgres://user:password@host:port/database`, a role that may create databases.
    pub database_url: String,
    /// NATS' HTTP monitor, if the servers are ours.
    pub nats_monitor_url: Option<String>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers")
    }
}

impl Servers {
    /// A new connection to NATS.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn nats(&self) -> async_nats::Client {
        let (options, address) = nats_options(&self.nats_url);
        options.connect(address).await.expect("NATS must be reachable for this test")
    }
}

/// What async-nats needs to connect to a URL: it ignores the user and password that stand in one.
///
/// # Panics
/// If `nats_url` is not a URL.
pub fn nats_options(nats_url: &str) -> (async_nats::ConnectOptions, String) {
    let mut url = Url::parse(nats_url).expect("the NATS address must be a URL");
    let options = match (url.username(), url.password()) {
        ("", _) => async_nats::ConnectOptions::new(),
        (user, password) => async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.unwrap_or_default().to_owned()),
    };
    url.set_username("").expect("a NATS URL has a host");
    url.set_password(None).expect("a NATS URL has a host");
    (options, url.to_string())
}

/// The servers for this process, started on first use if nobody named or started any.
///
/// # Panics
/// If a server can neither be found nor started: a test that needs one must fail, not pass by default.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let nats = variable(NATS_VARIABLE);
        let database = variable(DATABASE_VARIABLE);
        if let (Some(nats_url), Some(database_url)) = (&nats, &database) {
            return Servers {
                nats_url: nats_url.clone(),
                database_url: database_url.clone(),
                nats_monitor_url: None,
            };
        }
        // Half-named servers get a place of their own: what is written there mentions somebody else's server.
        let place = match (&nats, &database) {
            (Some(_), None) => "testkit-servers-own-nats",
            (None, Some(_)) => "testkit-servers-own-database",
            _ => "testkit-servers",
        };
        shared(&target_dir().join(place))
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn shared(dir: &Path) -> Servers {
    if let Some(found) = read(dir)
        && answers(&found)
    {
        return found;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/servers.sh");
    std::fs::create_dir_all(dir).expect("the build directory must be writable");
    let output = Command::new("bash")
        .arg(&script)
        .arg("up")
        .arg(dir)
        .output()
        .expect("bash must be installed to start the test servers");
    assert!(
        output.status.success(),
        "the test servers could not be started ({} up {}): {}",
        script.display(),
        dir.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let servers = read(dir).expect("servers.sh up writes servers.env");
    assert!(
        answers(&servers),
        "the test servers in {} were started but do not answer",
        dir.display()
    );
    servers
}

/// The addresses that `servers.sh` left in `dir`.
fn read(dir: &Path) -> Option<Servers> {
    let text = std::fs::read_to_string(dir.join("servers.env")).ok()?;
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('\'').to_owned())
            .filter(|value| !value.is_empty())
    };
    Some(Servers {
        nats_url: value("NATS_URL")?,
        database_url: value("DATABASE_URL")?,
        nats_monitor_url: value("NATS_MONITOR_URL"),
    })
}

/// Whether both still listen; NATS greets first, so a stranger on its port is noticed.
fn answers(servers: &Servers) -> bool {
    let Some(mut nats) = dial(&servers.nats_url, 4222) else {
        return false;
    };
    let mut greeting = [0; 5];
    nats.set_read_timeout(Some(GREETING_WAIT)).is_ok()
        && nats.read_exact(&mut greeting).is_ok()
        && &greeting == b"INFO "
        && dial(&servers.database_url, 5432).is_some()
}

fn dial(url: &str, port: u16) -> Option<TcpStream> {
    let url = Url::parse(url).ok()?;
    let address = (url.host_str()?, url.port().unwrap_or(port)).to_socket_addrs().ok()?.next()?;
    TcpStream::connect_timeout(&address, GREETING_WAIT).ok()
}

/// Cargo's target directory: from the environment, else from where this test binary lies.
fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return dir.into();
    }
    let exe = std::env::current_exe().expect("a test binary has a path");
    exe.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .map_or_else(std::env::temp_dir, Path::to_path_buf)
}
