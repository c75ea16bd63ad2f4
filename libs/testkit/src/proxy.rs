//! A TCP proxy on loopback that misbehaves on request.
//!
//! It stands between the code under test and a real server, so that a lost network is one for both ends: what was
//! written before a cut may or may not have arrived, exactly as outside.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

const CHUNK_BYTES: usize = 64 * 1024;
const REBIND_PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Forwarded,
    Held,
    Refused,
}

#[derive(Clone, Copy)]
struct Fault {
    traffic: Traffic,
    delay: Duration,
    /// Connections made under an older number are closed.
    cut: u64,
}

/// Forwards to one server until told otherwise; ends with this value.
pub struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port and forwards to `target`, which need not be up yet.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (fault, watched) = watch::channel(Fault {
            traffic: Traffic::Forwarded,
            delay: Duration::ZERO,
            cut: 0,
        });
        let accepted = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(listen(listener, address, target, watched, Arc::clone(&accepted)));
        Ok(Self {
            address,
            fault,
            accepted,
            task,
        })
    }

    /// A proxy before the server of `url`, and the same URL with the proxy's address.
    ///
    /// # Errors
    /// If the URL names no reachable host and port, or no port can be bound.
    pub async fn before(url: &str, default_port: u16) -> io::Result<(Self, String)> {
        let mut url = Url::parse(url).map_err(io::Error::other)?;
        let host = url.host_str().ok_or_else(|| io::Error::other("no host"))?;
        let target = tokio::net::lookup_host((host, url.port().unwrap_or(default_port)))
            .await?
            .next()
            .ok_or_else(|| io::Error::other("no address"))?;
        let proxy = Self::start(target).await?;
        url.set_host(Some("127.0.0.1")).map_err(io::Error::other)?;
        url.set_port(Some(proxy.address.port()))
            .map_err(|()| io::Error::other("the URL takes no port"))?;
        Ok((proxy, url.to_string()))
    }

    /// Where to connect instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Back to good service; what was held is delivered.
    pub fn forward(&self) {
        self.fault.send_modify(|fault| {
            fault.traffic = Traffic::Forwarded;
            fault.delay = Duration::ZERO;
        });
    }

    /// Closes every connection; new ones are served.
    pub fn cut(&self) {
        self.fault.send_modify(|fault| fault.cut += 1);
    }

    /// Every chunk that passes, in either direction, takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.fault.send_modify(|fault| fault.delay = delay);
    }

    /// Connections stay open and new ones are accepted, but no byte passes until [`FaultProxy::forward`].
    pub fn hold(&self) {
        self.fault.send_modify(|fault| fault.traffic = Traffic::Held);
    }

    /// Closes every connection and the port: connecting is refused until [`FaultProxy::forward`].
    pub fn refuse(&self) {
        self.fault.send_modify(|fault| {
            fault.traffic = Traffic::Refused;
            fault.cut += 1;
        });
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Dropping `fault` ends the connections, which watch it.
        self.task.abort();
    }
}

async fn listen(first: TcpListener, address: SocketAddr, target: SocketAddr, mut fault: watch::Receiver<Fault>, accepted: Arc<AtomicU64>) {
    let mut listener = Some(first);
    loop {
        let refused = fault.borrow_and_update().traffic == Traffic::Refused;
        if refused {
            listener = None;
            if fault.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => tokio::time::sleep(REBIND_PAUSE).await,
            }
            continue;
        };
        tokio::select! {
            changed = fault.changed() => if changed.is_err() { return },
            incoming = open.accept() => if let Ok((client, _)) = incoming {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(client, target, fault.clone()));
            },
        }
    }
}

async fn serve(client: TcpStream, target: SocketAddr, mut fault: watch::Receiver<Fault>) {
    let born = fault.borrow().cut;
    let (out, back) = (fault.clone(), fault.clone());
    let pumps = async {
        let server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        // Either side's end of input is passed on; the connection ends when both have ended.
        tokio::try_join!(pump(client_read, server_write, out), pump(server_read, client_write, back),)?;
        Ok::<_, io::Error>(())
    };
    tokio::select! {
        _ = fault.wait_for(|fault| fault.cut != born) => {} // also when the proxy is gone
        _ = pumps => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut fault: watch::Receiver<Fault>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let size = from.read(&mut chunk).await?;
        let delay = fault.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let passing = fault.wait_for(|fault| fault.traffic != Traffic::Held).await;
        passing.map_err(io::Error::other)?;
        match chunk.get(..size) {
            Some([]) | None => return to.shutdown().await,
            Some(bytes) => to.write_all(bytes).await?,
        }
    }
}
