//! Every service as a process of its own, each with its own way to NATS, to PostgreSQL and to be reached, so that any of
//! these can be broken alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use syncline_runtime::config::PORTS;
use syncline_testkit::{FaultProxy, Process, free_port};

use crate::servers::Servers;

const READY_WAIT: Duration = Duration::from_secs(60);
/// Kubernetes' default grace period.
const LEAVE_WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// Stages that move batches.
pub const WORKERS: [&str; 3] = ["extractor", "masker", "loader"];

/// Where the programs are.
#[derive(Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// Beside this one, unless a directory is named.
    pub fn find(dir: Option<PathBuf>) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir,
            None => std::env::current_exe()?
                .parent()
                .context("a program lies in a directory")?
                .to_owned(),
        };
        let programs = Self(dir);
        for program in [programs.syncline(), programs.simulator()] {
            ensure!(program.exists(), "{} is missing; `make chaos` builds it", program.display());
        }
        Ok(programs)
    }

    pub fn syncline(&self) -> PathBuf {
        self.0.join("syncline")
    }

    pub fn simulator(&self) -> PathBuf {
        self.0.join("salesforce-simulator")
    }
}

/// One process of a service.
pub struct Service {
    pub name: &'static str,
    number: usize,
    wanted: bool,
    pub nats: FaultProxy,
    pub database: FaultProxy,
    pub front: FaultProxy,
    nats_url: String,
    database_url: String,
    listen: SocketAddr,
    log: PathBuf,
    process: Option<Process>,
}

pub struct Installation {
    pub services: Vec<Service>,
    pub gateway_url: String,
    pub token: String,
    programs: Programs,
    secrets: PathBuf,
}

impl Installation {
    /// Starts one process of each service.
    pub async fn start(programs: &Programs, home: &Path, servers: &Servers) -> Result<Self> {
        let secrets = home.join("secrets");
        let made = Command::new(programs.syncline()).arg("secrets").arg(&secrets).output()?;
        ensure!(made.status.success(), "syncline secrets: {}", String::from_utf8_lossy(&made.stderr));
        let token = std::fs::read_to_string(secrets.join("gateway-token"))?.trim().to_owned();
        let mut services = Vec::new();
        for (name, _) in PORTS {
            for number in [1, 2] {
                services.push(Service::prepare(name, number, home, servers).await?);
            }
        }
        let gateway = services.iter().find(|s| s.name == "gateway").context("there is a gateway")?;
        let mut installation = Self {
            gateway_url: format!("http://{}", gateway.listen),
            token,
            programs: programs.clone(),
            secrets,
            services,
        };
        installation.mend().await?;
        Ok(installation)
    }

    /// Has a second process of each service stand beside the first, or not any more.
    pub async fn second_processes(&mut self, wanted: bool) -> Result<()> {
        for place in 0..self.services.len() {
            if self.service(place)?.number == 1 {
                continue;
            }
            self.service(place)?.wanted = wanted;
            if !wanted {
                self.kill(place)?;
            }
        }
        self.mend().await
    }

    /// Starts a process that does not run, with a failpoint if one is given.
    pub fn launch(&mut self, place: usize, failpoint: Option<&str>) -> Result<()> {
        // Others reach the first process of a service; the second one only shares its work.
        let mut fronts = Vec::new();
        for service in &self.services {
            let variable = format!("SYNCLINE_{}_URL", service.name.to_uppercase());
            if !fronts.iter().any(|(known, _)| *known == variable) {
                fronts.push((variable, format!("http://{}", service.front.address())));
            }
        }
        let mut command = Command::new(self.programs.syncline());
        let service = self.services.get_mut(place).context("there is such a service")?;
        command
            .args(["serve", service.name])
            .env("SYNCLINE_NATS_URL", &service.nats_url)
            .env("SYNCLINE_DATABASE_URL", &service.database_url)
            .env("SYNCLINE_LISTEN", service.listen.to_string())
            .env("SYNCLINE_KEYS_DIR", self.secrets.join("keys"))
            .env("SYNCLINE_GATEWAY_TOKEN", &self.token)
            .env("SYNCLINE_GATEWAY_REQUESTS_PER_SECOND", "1000")
            .envs(fronts)
            .env_remove("SYNCLINE_FAILPOINT")
            .envs(failpoint.map(|armed| ("SYNCLINE_FAILPOINT", armed)));
        service.process = Some(Process::start(&mut command, &service.log)?);
        Ok(())
    }

    /// Until every process that was launched serves.
    pub async fn ready(&mut self) -> Result<()> {
        for place in 0..self.services.len() {
            self.ready_one(place).await?;
        }
        Ok(())
    }

    pub async fn ready_one(&mut self, place: usize) -> Result<()> {
        let end = tokio::time::Instant::now() + READY_WAIT;
        let service = self.services.get_mut(place).context("there is such a service")?;
        let Some(process) = &mut service.process else { return Ok(()) };
        while tokio::net::TcpStream::connect(service.listen).await.is_err() {
            if let Some(status) = process.ended()? {
                bail!("{} ended at its start ({status}); see {}", service.name, service.log.display());
            }
            ensure!(
                tokio::time::Instant::now() < end,
                "{} is not ready; see {}",
                service.name,
                service.log.display()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The places of a service's processes.
    pub fn places(&self, name: &str) -> Vec<usize> {
        let named = self.services.iter().enumerate().filter(|(_, s)| s.name == name);
        named.map(|(place, _)| place).collect()
    }

    /// `kill -9` of one process, unless it is dead.
    pub fn kill(&mut self, place: usize) -> Result<()> {
        if let Some(mut process) = self.service(place)?.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Asks one process to leave, waits until it has, and starts it again.
    pub async fn restart(&mut self, place: usize) -> Result<()> {
        let service = self.service(place)?;
        let Some(process) = &mut service.process else { return Ok(()) };
        process.terminate()?;
        let end = tokio::time::Instant::now() + LEAVE_WAIT;
        while process.ended()?.is_none() {
            ensure!(
                tokio::time::Instant::now() < end,
                "{} was asked to leave and stays; see {}",
                service.name,
                service.log.display()
            );
            tokio::time::sleep(PAUSE).await;
        }
        self.launch(place, None)?;
        self.ready_one(place).await
    }

    pub fn pause(&mut self, place: usize) -> Result<()> {
        let process = self.service(place)?.process.as_ref().context("it runs")?;
        Ok(process.pause()?)
    }

    pub fn resume(&mut self, place: usize) -> Result<()> {
        let process = self.service(place)?.process.as_ref().context("it runs")?;
        Ok(process.resume()?)
    }

    /// Whether a process has ended by itself; it is forgotten then.
    pub fn fallen(&mut self, place: usize) -> Result<bool> {
        let service = self.service(place)?;
        let ended = match &mut service.process {
            Some(process) => process.ended()?.is_some(),
            None => true,
        };
        if ended {
            service.process = None;
        }
        Ok(ended)
    }

    /// Whether a process was stopped by a signal.
    pub fn stopped(&mut self, place: usize) -> Result<bool> {
        let Some(process) = &self.service(place)?.process else {
            return Ok(false);
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
        Ok(stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    /// Starts whatever has ended, as a supervisor would, and waits until it serves.
    pub async fn mend(&mut self) -> Result<()> {
        for place in 0..self.services.len() {
            if self.fallen(place)? && self.service(place)?.wanted {
                self.launch(place, None)?;
            }
        }
        self.ready().await
    }

    /// Starts one process anew, with a failpoint or without one.
    pub async fn renew(&mut self, place: usize, failpoint: Option<&str>) -> Result<()> {
        self.kill(place)?;
        self.launch(place, failpoint)?;
        self.ready_one(place).await
    }

    fn service(&mut self, place: usize) -> Result<&mut Service> {
        self.services.get_mut(place).context("there is such a service")
    }

    /// Runs a command of the command line against the gateway.
    pub fn cli(&self, arguments: &[&str], secrets: &[(&str, &str)]) -> Result<()> {
        let output = Command::new(self.programs.syncline())
            .args(arguments)
            .env("SYNCLINE_GATEWAY_URL", &self.gateway_url)
            .env("SYNCLINE_GATEWAY_TOKEN", &self.token)
            .envs(secrets.iter().copied())
            .output()?;
        ensure!(
            output.status.success(),
            "syncline {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Service {
    async fn prepare(name: &'static str, number: usize, home: &Path, servers: &Servers) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (nats, nats_url) = FaultProxy::before(&servers.nats_url, 4222).await?;
        let (database, database_url) = FaultProxy::before(&servers.database_url, 5432).await?;
        Ok(Self {
            name,
            number,
            wanted: number == 1,
            nats,
            database,
            front: FaultProxy::start(listen).await?,
            nats_url,
            database_url,
            listen,
            log: home.join("log").join(format!("{name}-{number}.log")),
            process: None,
        })
    }

    /// Its network is whole again.
    pub fn heal(&self) {
        for proxy in [&self.nats, &self.database, &self.front] {
            proxy.forward();
        }
    }
}
