//! What a worker is started with: its command, its environment, and where it listens.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ports;
use crate::keeper::Order;
use crate::net::Endpoint;
use crate::worker::Spec;
use crate::worker::rollout::Id;

/// Variables of Lintel's own environment that workers inherit.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Programs that are Node, or start it. Whatever else runs a script is told where to listen by PORT.
const NODE_PROGRAMS: [&str; 16] = [
    "node",
    "nodejs",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "tsx",
    "ts-node",
    "next",
    "nest",
    "nuxt",
    "nuxi",
    "vite",
    "remix-serve",
    "react-router-serve",
    "astro",
];

/// Bytes of a pool's name in the name of a socket.
const LONGEST_NAME: usize = 32;

/// How long before SIGKILL a worker ends with what it could not finish.
const GIVE_UP: Duration = Duration::from_millis(500);

/// A port that apps which compute with one get; the preload leads them elsewhere.
const NOMINAL_PORT: &str = "3000";

/// What all workers of an app have in common.
pub struct Launcher {
    pub pool: String,
    pub spec: Spec,
    /// Where it runs unless the Spec says so.
    pub folder: PathBuf,
    /// For the sockets of workers.
    pub run_directory: PathBuf,
    pub preload: PathBuf,
    pub desk: PathBuf,
}

/// Where one worker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a socket that it is given.
    Socket(PathBuf),
    /// On a port of loopback that it is told.
    Port(u16),
    /// Nowhere.
    Nowhere,
}

impl Place {
    /// The port that it is told.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Socket(_) | Self::Nowhere => None,
        }
    }

    pub fn endpoint(&self) -> Option<Endpoint> {
        match self {
            Self::Socket(path) => Some(Endpoint::Unix(path.clone())),
            Self::Port(port) => Some(Endpoint::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))),
            Self::Nowhere => None,
        }
    }
}

impl Launcher {
    /// Whether Node loads the preload, which leads an app to its socket and reports how it is.
    pub fn uses_preload(&self) -> bool {
        self.spec.preload && runs_node(self.spec.command.words())
    }

    /// A new place for a worker.
    pub fn place(&self, id: Id) -> std::io::Result<Place> {
        if self.spec.task {
            return Ok(Place::Nowhere);
        }
        if self.uses_preload() {
            let name = format!("{}-{}-{}.sock", short(&self.pool), id.slot, id.generation);
            return Ok(Place::Socket(self.run_directory.join(name)));
        }
        // The worker takes it a moment later.
        ports::free().map(Place::Port)
    }

    /// What the keeper is to start.
    pub fn order(&self, id: Id, run: u64, place: &Place) -> Order {
        Order {
            run,
            command: self.spec.command.words().to_vec(),
            directory: self.spec.directory.clone().unwrap_or_else(|| self.folder.clone()),
            env: self.environment(id, run, place, &|name| std::env::var(name).ok()),
            socket: match place {
                Place::Socket(path) => Some(path.clone()),
                Place::Port(_) | Place::Nowhere => None,
            },
            user: self.spec.user.clone(),
            group: self.spec.group.clone(),
        }
    }

    fn environment(
        &self,
        id: Id,
        run: u64,
        place: &Place,
        own: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<(String, String)> {
        let mut variables: std::collections::BTreeMap<String, String> =
            INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), own(name)?))).collect();
        variables.extend(
            [("PORT", NOMINAL_PORT), ("HOST", "127.0.0.1")].map(|(name, value)| (name.into(), value.into())),
        );
        variables.extend(self.spec.env.clone());
        let mut set = |name: &str, value: String| _ = variables.insert(name.to_owned(), value);
        let text = |path: &Path| path.display().to_string();
        set("NODE_APP_INSTANCE", id.slot.to_string());
        set("INSTANCE_ID", id.slot.to_string());
        match place {
            Place::Port(port) => set("PORT", port.to_string()),
            Place::Socket(path) => {
                set("LINTEL_LISTEN", "fd:3".to_owned());
                set("LINTEL_FALLBACK", text(path));
                set("LISTEN_FDS", "1".to_owned());
                set("LISTEN_FDNAMES", "lintel".to_owned());
            }
            Place::Nowhere if self.uses_preload() => set("LINTEL_LISTEN", "nowhere".to_owned()),
            Place::Nowhere => {}
        }
        if self.uses_preload() {
            set("LINTEL_CONTROL", text(&self.desk));
            set("LINTEL_WORKER", format!("{}/{}/{run}", self.pool, id.slot));
            // It gives up by itself a little before it would be killed.
            let drain = self.spec.stop.timeout.std().saturating_sub(GIVE_UP).max(GIVE_UP / 2);
            set("LINTEL_DRAIN_MS", drain.as_millis().to_string());
            let written =
                self.spec.env.get("NODE_OPTIONS").map(|written| format!(" {written}")).unwrap_or_default();
            set("NODE_OPTIONS", format!("--require={}{written}", quoted(&text(&self.preload))));
        }
        variables.into_iter().collect()
    }
}

/// As NODE_OPTIONS takes a path with spaces.
fn quoted(path: &str) -> String {
    if path.contains(' ') { format!("\"{}\"", path.replace('"', "\\\"")) } else { path.to_owned() }
}

/// A pool's name, or what tells a long one from all others: a socket's path has room for about a hundred bytes.
fn short(pool: &str) -> Cow<'_, str> {
    if pool.len() <= LONGEST_NAME {
        return Cow::Borrowed(pool);
    }
    Cow::Owned(format!("{:016x}", xxhash_rust::xxh64::xxh64(pool.as_bytes(), 0)))
}

fn runs_node(words: &[String]) -> bool {
    let program = words.first().map(Path::new);
    let name = program.and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    let is_script = |word: &String| {
        let extension = Path::new(word).extension().and_then(OsStr::to_str).unwrap_or_default();
        ["js", "mjs", "cjs"].contains(&extension)
    };
    NODE_PROGRAMS.contains(&name) || words.first().is_some_and(is_script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(spec: &str) -> Launcher {
        Launcher {
            pool: "api".into(),
            spec: serde_json::from_str(spec).unwrap(),
            folder: "/srv".into(),
            run_directory: "/run/l".into(),
            preload: "/run/l/preload.cjs".into(),
            desk: "/run/l/workers.sock".into(),
        }
    }

    fn value<'e>(order: &'e Order, name: &str) -> Option<&'e str> {
        order.env.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    const ID: Id = Id { slot: 2, generation: 7 };

    #[test]
    fn a_node_app_gets_a_socket_and_the_preload() {
        let launcher = launcher(
            r#"{ "command": "node server.js", "env": { "NODE_OPTIONS": "--max-old-space-size=99", "A": "b" } }"#,
        );
        let place = launcher.place(ID).unwrap();
        assert_eq!(place, Place::Socket("/run/l/api-2-7.sock".into()));
        let order = launcher.order(ID, 9, &place);
        assert_eq!(order.socket.as_deref(), Some(Path::new("/run/l/api-2-7.sock")));
        assert_eq!(
            value(&order, "NODE_OPTIONS"),
            Some("--require=/run/l/preload.cjs --max-old-space-size=99")
        );
        assert_eq!(value(&order, "LINTEL_WORKER"), Some("api/2/9"));
        assert_eq!((value(&order, "NODE_APP_INSTANCE"), value(&order, "A")), (Some("2"), Some("b")));
        assert_eq!(value(&order, "CARGO_MANIFEST_DIR"), None, "nothing else is inherited");
        assert_eq!(order.directory, Path::new("/srv"));
    }

    #[test]
    fn pools_with_long_names_have_sockets_of_their_own() {
        let (one, two) = (format!("{}1", "x".repeat(60)), format!("{}2", "x".repeat(60)));
        assert_ne!(short(&one), short(&two));
        assert!(short(&one).len() <= LONGEST_NAME);
        assert_eq!(short("api"), "api");
    }

    #[test]
    fn other_programs_get_a_port_and_tasks_nothing() {
        let python = launcher(r#"{ "command": "python3 app.py" }"#);
        let place = python.place(ID).unwrap();
        let Place::Port(port) = place else { panic!("{place:?}") };
        let order = python.order(ID, 9, &place);
        assert_eq!(value(&order, "PORT"), Some(port.to_string().as_str()));
        assert_eq!((value(&order, "NODE_OPTIONS"), &order.socket), (None, &None));
        let task = launcher(r#"{ "command": "node queue.js", "task": true }"#);
        let place = task.place(ID).unwrap();
        assert_eq!(place, Place::Nowhere);
        let order = task.order(ID, 9, &place);
        assert_eq!((value(&order, "LINTEL_LISTEN"), &order.socket), (Some("nowhere"), &None));
        assert_eq!(value(&order, "NODE_OPTIONS"), Some("--require=/run/l/preload.cjs"));
        let other = launcher(r#"{ "command": "python3 queue.py", "task": true }"#);
        let order = other.order(ID, 9, &Place::Nowhere);
        assert_eq!((value(&order, "NODE_OPTIONS"), value(&order, "LINTEL_LISTEN")), (None, None));
        for (command, is_node) in
            [("/usr/bin/node a", true), ("npm start", true), ("./bin.mjs", true), ("deno run a.ts", false)]
        {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(runs_node(&words), is_node, "{command}");
        }
    }
}
