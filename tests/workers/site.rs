//! A Lintel with an app: its folder, its config, its commands, and all processes that belong to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::lintel::{Ending, Setup, message_of};
use crate::support::process::processes_of;
use crate::support::{Connection, Lintel, Response, eventually, get, within};

/// Sites so far: each has a mark.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Sites at once: each is several Node processes, and a test judges how long things take.
static SITES: Semaphore = Semaphore::const_new(3);

/// A site to be. Its app is `node server.js` in the folder `app`, with apps/server.js in it, unless something else is written.
pub struct Plan {
    app: String,
    pool: String,
    further_pool: String,
    routes: String,
    command: String,
    own_env: Vec<(String, String)>,
}

impl Plan {
    /// `app` is lines of the app's settings, `env` among them as further lines of `env`, each indented by two.
    pub fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            pool: String::new(),
            further_pool: String::new(),
            routes: "[{ name: all, to: app }]".to_owned(),
            command: "node server.js".to_owned(),
            own_env: Vec::new(),
        }
    }

    pub fn command(mut self, command: &str) -> Self {
        self.command = command.to_owned();
        self
    }

    /// Further lines of the pool.
    pub fn pool(mut self, lines: &str) -> Self {
        self.pool = lines.to_owned();
        self
    }

    /// A line of `pools`.
    pub fn further_pool(mut self, line: &str) -> Self {
        self.further_pool = line.to_owned();
        self
    }

    pub fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.to_owned();
        self
    }

    /// A variable of Lintel itself.
    pub fn own_env(mut self, name: &str, value: &str) -> Self {
        self.own_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The config of a site with this mark.
    pub fn yaml(&self, mark: &str) -> String {
        let indented = |text: &str, by: usize| -> String {
            text.lines().map(|line| format!("{}{}\n", " ".repeat(by), line.trim_end())).collect()
        };
        let (mut app, mut env) = (String::new(), format!("SITE: {mark}\n"));
        for line in self.app.lines().map(|line| format!("{line}\n")) {
            match line.strip_prefix("env ") {
                Some(variable) => env += variable,
                None => app += &line,
            }
        }
        if !app.contains("directory:") {
            app += "directory: ./app\n";
        }
        format!(
            "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools:\n  app:\n    app:\n      command: {}\n{}      env:\n{}{}{}routes: {}\n",
            self.command,
            indented(&app, 6),
            indented(&env, 8),
            indented(&self.pool, 4),
            indented(&self.further_pool, 2),
            self.routes
        )
    }

    /// Starts it, with as many workers ready as `workers` says.
    pub async fn start(self, workers: usize) -> Site {
        self.start_with(workers, |_| ()).await
    }

    /// As `start`, after `prepare` has put things into the folder of the app.
    pub async fn start_with(self, workers: usize, prepare: impl FnOnce(&Path)) -> Site {
        let permit = SITES.acquire().await.expect("never closed");
        let mark = format!("site-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let yaml = self.yaml(&mark);
        let mut setup = Setup::new(yaml.as_str()).env("SITE_OF_LINTEL", &mark);
        for (name, value) in &self.own_env {
            setup = setup.env(name, value);
        }
        let app = setup.path().join("app");
        std::fs::create_dir(&app).expect("a folder for the app");
        std::fs::copy(apps().join("server.js"), app.join("server.js")).expect("the app can be copied");
        prepare(&app);
        let lintel = setup.start().await;
        let commands = Setup::new(yaml).in_folder_of(&lintel);
        let site = Site { lintel, commands, app, mark, _permit: permit };
        site.ready(workers).await;
        site
    }
}

/// The folder of the apps that tests run.
pub fn apps() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/workers/apps")
}

/// A running Lintel with an app.
pub struct Site {
    pub lintel: Lintel,
    commands: Setup,
    /// The folder of the app.
    pub app: PathBuf,
    /// In the environment of all its processes.
    mark: String,
    _permit: SemaphorePermit<'static>,
}

/// A worker as the control interface shows it.
#[derive(Clone, Debug)]
pub struct Worker(pub Value);

impl Worker {
    pub fn index(&self) -> u64 {
        self.0["index"].as_u64().expect("an index")
    }

    pub fn state(&self) -> &str {
        self.0["state"].as_str().expect("a state")
    }

    /// Zero while there is no process.
    pub fn pid(&self) -> u32 {
        self.0["pid"].as_u64().unwrap_or_default() as u32
    }

    pub fn restarts(&self) -> u64 {
        self.0["restarts"].as_u64().expect("a count")
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Fails unless the command succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

impl Site {
    /// Has it take another plan, and uses that for its commands.
    #[allow(dead_code, reason = "only some test programs with this harness reload")]
    pub async fn reload(&mut self, plan: Plan) -> Value {
        let yaml = plan.yaml(&self.mark);
        self.commands = Setup::new(yaml.as_str()).in_folder_of(&self.lintel);
        self.lintel.reload(&yaml).await
    }

    /// A command of `lintel` with the config of this site.
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = self.commands.command(&[arguments, &["-c", "lintel.yaml"]].concat());
        command.stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
    }

    /// Runs a command of `lintel` to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let output =
            within(&format!("{arguments:?}"), self.command(arguments).output()).await.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Asks the control interface.
    pub async fn control(&self, target: &str) -> Response {
        let stream = UnixStream::connect(self.lintel.path().join("run/admin.sock")).await;
        let mut connection = Connection::over(stream.expect("the control interface answers"));
        connection
            .send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await;
        connection.response().await
    }

    /// What the control interface shows of the app.
    pub async fn workers(&self) -> Vec<Worker> {
        let status: Value = serde_json::from_slice(&self.control("/status").await.body).expect("JSON");
        let workers = status["pools"][0]["app"]["workers"].as_array().cloned().unwrap_or_default();
        workers.into_iter().map(Worker).collect()
    }

    /// Awaits exactly so many workers, all ready.
    pub async fn ready(&self, count: usize) -> Vec<Worker> {
        let what = format!("{count} workers are ready");
        eventually(&what, async || {
            let workers = self.workers().await;
            let all = workers.len() == count && workers.iter().all(|worker| worker.state() == "ready");
            all.then_some(workers)
        })
        .await
    }

    pub async fn pids(&self) -> BTreeSet<u32> {
        self.workers().await.iter().map(Worker::pid).collect()
    }

    /// Awaits the end of all but `count` workers, and that those are ready; no process of `before` is among them.
    pub async fn replaced(&self, count: usize, before: &BTreeSet<u32>) -> BTreeSet<u32> {
        let workers = self.ready(count).await;
        let now: BTreeSet<u32> = workers.iter().map(Worker::pid).collect();
        assert!(now.len() == count && now.is_disjoint(before), "before {before:?}, now {now:?}");
        now
    }

    /// A GET whose answer is JSON.
    pub async fn ask(&self, path: &str) -> Value {
        let response = get(self.lintel.http(), path).await;
        assert_eq!(response.status(), 200, "GET {path}: {} {}", response.line, response.text());
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// Sends a POST and gives the connection, on which the answer is to come.
    pub async fn post(&self, path: &str) -> Connection {
        let mut connection = Connection::open(self.lintel.http()).await;
        connection
            .send(format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n{{}}"))
            .await;
        connection
    }

    /// The lines of Lintel's log whose message has this in it.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        self.lintel.log.records().into_iter().filter(|line| message_of(line).contains(text)).collect()
    }

    /// Awaits a line of Lintel's log.
    pub async fn log(&self, text: &str) -> Value {
        let fits = |line: &Value| message_of(line).contains(text);
        self.lintel.log.record(&format!("the log says: {text}"), fits).await
    }

    /// The lines that workers wrote: index, source, text.
    pub async fn lines(&self) -> Vec<(u64, String, String)> {
        let text = self.control("/pools/app/logs?lines=10000").await.text();
        let parts = |line: &str| {
            let mut parts = line.splitn(3, ' ').map(str::to_owned);
            let worker = parts.next()?.parse().ok()?;
            Some((worker, parts.next()?, parts.next()?))
        };
        text.lines().filter_map(parts).collect()
    }

    /// Awaits that a worker has written this line; which one.
    pub async fn wrote(&self, text: &str) -> u64 {
        eventually(&format!("a worker writes: {text}"), async || {
            self.lines().await.into_iter().find(|(_, _, found)| found == text).map(|(worker, ..)| worker)
        })
        .await
    }

    /// Processes of this site but for Lintel itself: the keeper, workers, what these started.
    pub fn processes(&self) -> Vec<(u32, String)> {
        processes_of(&self.mark).into_iter().filter(|(pid, _)| *pid != self.lintel.id()).collect()
    }

    /// Awaits the end of a Lintel that was told to end, and of all its processes.
    pub async fn stop_after_signal(self) -> Ending {
        let ending = self.lintel.ending().await;
        nobody_is_left(&self.mark).await;
        ending
    }

    /// Ends it gently: exit code 0, and no process is left.
    pub async fn stop(self) -> Ending {
        let ending = self.lintel.stop().await;
        nobody_is_left(&self.mark).await;
        ending
    }
}

/// Ends a process as a crash does.
pub fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, Signal::KILL).expect("the process takes signals");
}

/// Awaits that no process is left. The last ones may need a moment to disappear.
async fn nobody_is_left(mark: &str) {
    let mut left = Vec::new();
    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    eventually("no process is left", async || {
        left = processes_of(mark);
        assert!(Instant::now() < deadline, "still there: {left:?}");
        left.is_empty().then_some(())
    })
    .await;
}
