//! Everything that the control interface can be asked, each thing once: requests are read by this table, and the
//! description of the interface is made from it, so that the two cannot part.

use std::time::Duration;

use hyper::Method;

use crate::pool::orders::LONGEST_PAUSE;
use crate::worker::spec::MOST_INSTANCES;

/// One thing that can be asked.
#[derive(Debug)]
pub struct Operation {
    pub name: Name,
    pub verb: Verb,
    /// With names of path parameters in braces.
    pub path: &'static str,
    pub about: &'static str,
    pub parameters: &'static [Parameter],
    pub effect: Effect,
    pub answer: Answer,
    /// Statuses of refusals besides those that everything can get.
    pub refusals: &'static [u16],
}

/// Which one it is; its name is its `operationId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Livez,
    Readyz,
    Metrics,
    OpenApi,
    Status,
    Events,
    Listeners,
    Routes,
    Certificates,
    Pools,
    Pool,
    Logs,
    Config,
    Plan,
    Reload,
    Upgrade,
    Rollout,
    Scale,
    Pause,
    Resume,
    AddServer,
    RemoveServer,
    DrainServer,
    UndrainServer,
    WeighServer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Delete,
}

/// Whether something changes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Changes,
}

/// What a success is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Text,
    Prometheus,
    /// Events as they come (SSE).
    Events,
    OpenApi,
    Status,
    Listeners,
    Routes,
    Certificates,
    Pools,
    Pool,
    Config,
    Plan,
    Reloaded,
    Upgraded,
    RolledOut,
    Paused,
    Resumed,
    Servers,
    Server,
}

/// A value in the path or in the query.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    pub place: Place,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
    /// In the query, and it must be there.
    NeededInQuery,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Where a server is: IP:PORT, \[IPv6\]:PORT or unix:/PATH.
    Address,
    /// 1 for yes, 0 for no, which it is unless written.
    Flag,
    Number {
        least: u32,
        most: u32,
        default: Option<u32>,
    },
    /// A whole number with its unit, such as 30s.
    Time {
        /// A power of ten.
        least_ms: u64,
        most: Duration,
        default: &'static str,
    },
}

const NONE: &[Parameter] = &[];
const POOL: Parameter = Parameter {
    name: "pool",
    about: "The pool, as the config names it.",
    place: Place::Path,
    kind: Kind::Text,
};
const SERVER: Parameter = Parameter {
    name: "server",
    about: "The server, as `/status` names it, percent-encoded: it may hold `/` and `:`.",
    place: Place::Path,
    kind: Kind::Text,
};
const KEEP: Parameter = Parameter {
    name: "keep",
    about: "Whether it stays so over reloads; else the next one goes back to the file.",
    place: Place::Query,
    kind: Kind::Flag,
};
const DAY: Duration = Duration::from_secs(86_400);
/// Lines shown of a worker's output when nobody says how many.
pub const LINES: u32 = 100;
/// Lines that can be asked for.
const MOST_LINES: u32 = 10_000;

/// A thing that is looked at, with no parameters.
const fn look(name: Name, path: &'static str, about: &'static str, answer: Answer) -> Operation {
    Operation {
        name,
        verb: Verb::Get,
        path,
        about,
        parameters: NONE,
        effect: Effect::Reads,
        answer,
        refusals: &[],
    }
}

/// A thing that is changed.
const fn change(
    name: Name,
    path: &'static str,
    about: &'static str,
    parameters: &'static [Parameter],
    answer: Answer,
    refusals: &'static [u16],
) -> Operation {
    Operation { name, verb: Verb::Post, path, about, parameters, effect: Effect::Changes, answer, refusals }
}

/// All there is, in the order in which it is described.
pub const OPERATIONS: &[Operation] = &[
    look(Name::Livez, "/livez", "Whether the process is alive.", Answer::Text),
    look(Name::Readyz, "/readyz", "Whether it serves; 503 while it starts and while it ends.", Answer::Text),
    look(Name::Metrics, "/metrics", "All metrics, for Prometheus.", Answer::Prometheus),
    look(Name::OpenApi, "/openapi.json", "This description.", Answer::OpenApi),
    look(Name::Status, "/status", "Listeners, pools, servers and workers at a glance.", Answer::Status),
    look(Name::Events, "/events", "What happens from now on, as server-sent events.", Answer::Events),
    look(Name::Listeners, "/listeners", "Where clients come in.", Answer::Listeners),
    look(Name::Routes, "/routes", "Where requests go, in the order of the file.", Answer::Routes),
    look(
        Name::Certificates,
        "/certificates",
        "Certificates of the listeners: names and expiry, never keys.",
        Answer::Certificates,
    ),
    look(
        Name::Config,
        "/config",
        "The config in force: defaults written out, secrets masked.",
        Answer::Config,
    ),
    Operation {
        refusals: &[422],
        ..look(Name::Plan, "/plan", "What a reload would change; nothing changes.", Answer::Plan)
    },
    look(Name::Pools, "/pools", "All pools with their servers and workers.", Answer::Pools),
    Operation {
        parameters: &[POOL],
        refusals: &[404],
        ..look(Name::Pool, "/pools/{pool}", "One pool with its servers and workers.", Answer::Pool)
    },
    Operation {
        parameters: &[
            POOL,
            Parameter {
                name: "worker",
                about: "Only this worker, by its index.",
                place: Place::Query,
                kind: Kind::Number { least: 0, most: MOST_INSTANCES as u32 - 1, default: None },
            },
            Parameter {
                name: "lines",
                about: "How many of the last lines.",
                place: Place::Query,
                kind: Kind::Number { least: 0, most: MOST_LINES, default: Some(LINES) },
            },
            Parameter {
                name: "follow",
                about: "Goes on with what is written from now on.",
                place: Place::Query,
                kind: Kind::Flag,
            },
        ],
        refusals: &[404],
        ..look(Name::Logs, "/pools/{pool}/logs", "What the workers of a pool wrote last.", Answer::Text)
    },
    change(
        Name::Reload,
        "/reload",
        "Takes the config file as it is now. A file with problems changes nothing.",
        NONE,
        Answer::Reloaded,
        &[409, 422],
    ),
    change(
        Name::Upgrade,
        "/upgrade",
        "Has the program's file, as it is now, take over; this process drains.",
        NONE,
        Answer::Upgraded,
        &[409],
    ),
    change(
        Name::Rollout,
        "/pools/{pool}/rollout",
        "Replaces the workers of a pool by new ones; answers when that is done.",
        &[POOL],
        Answer::RolledOut,
        &[404, 409],
    ),
    change(
        Name::Scale,
        "/pools/{pool}/scale",
        "Gives a pool more or fewer workers; answers when that is done.",
        &[
            POOL,
            Parameter {
                name: "instances",
                about: "How many workers there are to be.",
                place: Place::NeededInQuery,
                kind: Kind::Number { least: 1, most: MOST_INSTANCES as u32, default: None },
            },
        ],
        Answer::RolledOut,
        &[404, 409],
    ),
    change(
        Name::Pause,
        "/pools/{pool}/pause",
        "Has new requests of a pool wait in its queue.",
        &[
            POOL,
            Parameter {
                name: "timeout",
                about: "When the pause ends by itself.",
                place: Place::Query,
                kind: Kind::Time { least_ms: 1000, most: LONGEST_PAUSE, default: "30s" },
            },
        ],
        Answer::Paused,
        &[404, 409],
    ),
    change(
        Name::Resume,
        "/pools/{pool}/resume",
        "Lets the requests of a paused pool go.",
        &[POOL],
        Answer::Resumed,
        &[404, 409],
    ),
    change(
        Name::AddServer,
        "/pools/{pool}/servers",
        "Adds a server to a pool.",
        &[
            POOL,
            Parameter {
                name: "address",
                about: "Where it is: IP:PORT, [IPv6]:PORT or unix:/PATH.",
                place: Place::NeededInQuery,
                kind: Kind::Address,
            },
            Parameter {
                name: "weight",
                about: "Its share of the work.",
                place: Place::Query,
                kind: Kind::Number { least: 1, most: 1000, default: Some(1) },
            },
            KEEP,
        ],
        Answer::Servers,
        &[404, 409],
    ),
    Operation {
        verb: Verb::Delete,
        ..change(
            Name::RemoveServer,
            "/pools/{pool}/servers/{server}",
            "Takes a server out of its pool; what runs on it goes on for runtime.drain_timeout.",
            &[POOL, SERVER, KEEP],
            Answer::Servers,
            &[404, 409],
        )
    },
    change(
        Name::DrainServer,
        "/pools/{pool}/servers/{server}/drain",
        "Gives a server no new work.",
        &[
            POOL,
            SERVER,
            Parameter {
                name: "timeout",
                about: "Over how long its WebSockets are told to come back elsewhere.",
                place: Place::Query,
                kind: Kind::Time { least_ms: 1, most: DAY, default: "30s" },
            },
            KEEP,
        ],
        Answer::Server,
        &[404, 409],
    ),
    change(
        Name::UndrainServer,
        "/pools/{pool}/servers/{server}/undrain",
        "Gives a drained server work again.",
        &[POOL, SERVER],
        Answer::Server,
        &[404, 409],
    ),
    change(
        Name::WeighServer,
        "/pools/{pool}/servers/{server}/weight",
        "Gives a server another share of the work.",
        &[
            POOL,
            SERVER,
            Parameter {
                name: "weight",
                about: "Its share of the work.",
                place: Place::NeededInQuery,
                kind: Kind::Number { least: 1, most: 1000, default: None },
            },
            KEEP,
        ],
        Answer::Servers,
        &[404, 409],
    ),
];

impl Operation {
    /// Whether this is asked by that method; what is looked at is looked at by HEAD too.
    pub fn takes(&self, method: &Method) -> bool {
        match self.verb {
            Verb::Get => matches!(*method, Method::GET | Method::HEAD),
            Verb::Post => *method == Method::POST,
            Verb::Delete => *method == Method::DELETE,
        }
    }

    /// The values of the path parameters, as they stand in `path`; `None` if this is another path.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
        let mut values = Vec::new();
        let mut wanted = self.path.split('/');
        let mut found = path.split('/');
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return Some(values),
                (Some(wanted), Some(found)) => {
                    match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                        Some(name) if !found.is_empty() => values.push((name, found)),
                        None if wanted == found => {}
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

impl Verb {
    /// Methods as the Allow field has them.
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// Its key in a description.
    pub fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_there_once_and_names_its_path_parameters() {
        for (place, operation) in OPERATIONS.iter().enumerate() {
            let same = |other: &&Operation| {
                other.name == operation.name || other.verb == operation.verb && other.path == operation.path
            };
            assert_eq!(OPERATIONS.iter().filter(same).count(), 1, "{operation:?} at {place}");
            let in_path: Vec<&str> =
                operation.matches(operation.path).unwrap().iter().map(|(name, _)| *name).collect();
            let told = operation.parameters.iter().filter(|parameter| parameter.place == Place::Path);
            assert_eq!(in_path, told.map(|parameter| parameter.name).collect::<Vec<_>>());
            // Two that fit one path would have to be told apart by more than the table says.
            let fitting = OPERATIONS.iter().filter(|other| other.matches(operation.path).is_some());
            assert!(fitting.filter(|other| other.verb == operation.verb).count() == 1, "{}", operation.path);
        }
    }
}
