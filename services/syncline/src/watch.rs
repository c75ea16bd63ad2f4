//! Following a run: bars on a terminal, lines in a log, JSON lines for programs.
//!
//! The connection may break; watching goes on behind the last cursor. Ctrl-C and SIGTERM end the watching, never the
//! run.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use syncline_domain::run::Status as RunStatus;
use syncline_wire::analysis::GetPlanSummaryRequest;
use syncline_wire::monitor::{Snapshot, WatchRunRequest, WatchRunResponse};
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Code, Request, Status, Streaming};

use crate::client::{Gateway, ask};
use crate::error::CliError;
use crate::output::{Format, Output};
use crate::view::{plan, progress};

/// A watcher that got no snapshot this often in a row gives up.
const RECONNECTS_MAX: u32 = 30;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Bars are drawn at most this often.
const DRAWS_PER_SECOND: u8 = 10;

/// How watching ended.
pub enum Ended {
    /// With the run.
    Run(Box<Snapshot>),
    /// Somebody did not want to watch any longer.
    Detached,
}

/// Follows a run to its end.
///
/// # Errors
/// When the run is not known, or the gateway stays away.
pub async fn follow(gateway: &Gateway, run: &str, output: Output) -> Result<Ended, CliError> {
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let mut watcher = Watcher {
        gateway,
        run,
        output,
        screen: Screen::new(output),
        after: 0,
        planned: false,
        hinted: String::new(),
        last: None,
    };
    let mut failures = 0;
    loop {
        let watched = tokio::select! {
            () = &mut interrupted => {
                watcher.screen.freeze();
                return Ok(Ended::Detached);
            }
            watched = watcher.watch(&mut failures) => watched,
        };
        let status = match watched {
            Ok(snapshot) => return Ok(Ended::Run(snapshot)),
            Err(Broken::Output(error)) => return Err(error.into()),
            Err(Broken::Stream(status)) => status,
        };
        failures += 1;
        let passing = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled);
        if !passing || failures > RECONNECTS_MAX {
            watcher.screen.leave();
            return Err(gateway.error(status));
        }
        if failures == 1 {
            watcher
                .screen
                .message(output, "the connection broke; the run goes on, watching again");
        }
        tokio::select! {
            () = &mut interrupted => {
                watcher.screen.freeze();
                return Ok(Ended::Detached);
            }
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
        }
    }
}

/// Resolves at Ctrl-C or SIGTERM.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

enum Broken {
    Stream(Status),
    Output(io::Error),
}

struct Watcher<'a> {
    gateway: &'a Gateway,
    run: &'a str,
    output: Output,
    screen: Screen,
    after: u64,
    planned: bool,
    hinted: String,
    /// The newest snapshot, kept when the connection breaks: none follows a run's last one.
    last: Option<Box<Snapshot>>,
}

impl Watcher<'_> {
    /// Shows snapshots until the run has ended.
    async fn watch(&mut self, failures: &mut u32) -> Result<Box<Snapshot>, Broken> {
        let request = Request::new(WatchRunRequest {
            run: self.run.to_owned(),
            after: self.after,
        });
        let mut stream: Streaming<WatchRunResponse> = self
            .gateway
            .monitor()
            .watch_run(request)
            .await
            .map_err(Broken::Stream)?
            .into_inner();
        while let Some(response) = stream.message().await.map_err(Broken::Stream)? {
            let Some(snapshot) = response.snapshot else { continue };
            *failures = 0;
            self.after = snapshot.cursor;
            self.show(&snapshot).await.map_err(Broken::Output)?;
            self.last = Some(Box::new(snapshot));
        }
        match self.last.take() {
            Some(snapshot) if is_terminal(&snapshot.status) => {
                self.screen.leave();
                Ok(snapshot)
            }
            _ => Err(Broken::Stream(Status::unavailable(
                "the run is not over, but nothing more was said of it",
            ))),
        }
    }

    async fn show(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if !self.planned && is_planned(&snapshot.status) {
            self.planned = true;
            self.show_plan().await?;
        }
        self.screen.show(snapshot, self.output)?;
        if let Some(hint) = hint(self.run, &snapshot.status)
            && self.hinted != snapshot.status
        {
            self.screen.message(self.output, &hint);
        }
        self.hinted.clone_from(&snapshot.status);
        Ok(())
    }

    /// A plan that can't be had is no reason not to watch.
    async fn show_plan(&mut self) -> io::Result<()> {
        let request = GetPlanSummaryRequest { run: self.run.to_owned() };
        let Ok(answer) = self.gateway.analysis().get_plan_summary(ask(request)).await else {
            return Ok(());
        };
        let answer = answer.into_inner();
        let Some(summary) = answer.plan else { return Ok(()) };
        match self.output.format {
            Format::Json => self
                .output
                .json_line(&json!({"plan": plan::plan_json(&summary), "issues": plan::issues_json(&answer.issues)})),
            Format::Table => {
                let mut text = plan::outline(&summary);
                let grave: Vec<_> = answer.issues.into_iter().filter(|i| i.severity != "info").collect();
                if !grave.is_empty() {
                    text.push('\n');
                    text.push_str(&plan::issues(&grave));
                }
                text.push('\n');
                self.screen.suspend(|| self.output.result(&text, &serde_json::Value::Null))
            }
        }
    }
}

fn is_terminal(status: &str) -> bool {
    status.parse().is_ok_and(RunStatus::is_terminal)
}

/// Is there a plan by now?
fn is_planned(status: &str) -> bool {
    !matches!(
        status.parse(),
        Err(_) | Ok(RunStatus::Pending | RunStatus::Compatibility | RunStatus::Cancelling | RunStatus::Cancelled)
    )
}

fn hint(run: &str, status: &str) -> Option<String> {
    match status.parse() {
        Ok(RunStatus::AwaitingApproval) => Some(format!("the run waits for approval: syncline runs approve {run}")),
        Ok(RunStatus::Paused) => Some(format!("the run is paused: syncline runs resume {run}")),
        _ => None,
    }
}

/// Where progress is shown.
enum Screen {
    Bars(Bars),
    Lines(progress::Lines),
    Json,
}

impl Screen {
    fn new(output: Output) -> Self {
        match output.format {
            Format::Json => Self::Json,
            Format::Table if output.is_interactive() => Self::Bars(Bars::new()),
            Format::Table => Self::Lines(progress::Lines::default()),
        }
    }

    fn show(&mut self, snapshot: &Snapshot, output: Output) -> io::Result<()> {
        match self {
            Self::Bars(bars) => bars.show(snapshot),
            Self::Lines(lines) => {
                for line in lines.next(snapshot, Instant::now()) {
                    output.message(&line);
                }
            }
            Self::Json => output.json_line(&json!({"snapshot": progress::to_json(snapshot)}))?,
        }
        Ok(())
    }

    fn message(&self, output: Output, text: &str) {
        self.suspend(|| output.message(text));
    }

    /// Writes something else without disturbing what is drawn.
    fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self {
            Self::Bars(bars) => bars.multi.suspend(write),
            Self::Lines(_) | Self::Json => write(),
        }
    }

    /// Draws the last state and stops drawing.
    fn leave(&self) {
        if let Self::Bars(bars) = self {
            bars.leave();
        }
    }

    /// Stops drawing at once: the terminal has written `^C` into the lines, so they can't be drawn over any more.
    fn freeze(&self) {
        if let Self::Bars(bars) = self {
            bars.freeze();
        }
    }
}

struct Bars {
    multi: MultiProgress,
    style: ProgressStyle,
    status: ProgressBar,
    header: Option<ProgressBar>,
    objects: Vec<ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        let status = multi.add(ProgressBar::no_length().with_style(style.clone()));
        Self {
            multi,
            style,
            status,
            header: None,
            objects: Vec::new(),
        }
    }

    fn line(&self) -> ProgressBar {
        self.multi
            .insert_before(&self.status, ProgressBar::no_length().with_style(self.style.clone()))
    }

    fn show(&mut self, snapshot: &Snapshot) {
        let width = progress::name_width(&snapshot.objects);
        if !snapshot.objects.is_empty() {
            if self.header.is_none() {
                self.header = Some(self.line());
            }
            if let Some(header) = &self.header {
                header.set_message(progress::header(width));
            }
        }
        while self.objects.len() < snapshot.objects.len() {
            let line = self.line();
            self.objects.push(line);
        }
        for (bar, object) in self.objects.iter().zip(&snapshot.objects) {
            bar.set_message(progress::line(object, width));
        }
        self.status.set_message(progress::status_line(snapshot));
    }

    fn leave(&self) {
        for bar in self.header.iter().chain(&self.objects).chain([&self.status]) {
            bar.abandon();
        }
        self.freeze();
    }

    fn freeze(&self) {
        self.multi.set_draw_target(ProgressDrawTarget::hidden());
        // The cursor stands behind the last line.
        let _ = writeln!(io::stderr());
    }
}
