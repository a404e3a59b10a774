//! `runtime.watch`: the config is taken when its file has changed, however it was changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::lintel::{Setup, front, message_of, whole};
use crate::support::time::takes;
use crate::support::{Lintel, Origin, eventually, get};

const WATCH: &str = "runtime: { watch: true }\n";

/// A config whose `/version` answers with this.
fn version(origin: &Origin, number: &str) -> String {
    front(&[origin], "") + &route(number) + WATCH
}

fn route(number: &str) -> String {
    format!("  - {{ name: version, match: {{ path: /version }}, respond: {{ status: 200, body: \"{number}\" }} }}\n")
}

async fn answers(lintel: &Lintel, number: &str) {
    eventually(&format!("version {number} is in force"), async || {
        (get(lintel.http(), "/version").await.text() == number).then_some(())
    })
    .await;
}

fn reloads(lintel: &Lintel) -> usize {
    lintel.log.records().iter().filter(|line| message_of(line) == "reloading").count()
}

#[tokio::test]
async fn a_file_that_an_editor_puts_into_its_place_or_writes_over_is_taken_once() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(version(&origin, "1")).await;
    lintel.rewrite(&version(&origin, "2"));
    answers(&lintel, "2").await;
    fs::write(lintel.config_path(), whole(&version(&origin, "3"))).unwrap();
    answers(&lintel, "3").await;
    // The old one aside, the new one in its place.
    fs::rename(lintel.config_path(), lintel.path().join("lintel.yaml~")).unwrap();
    takes(Duration::from_millis(700)).await;
    fs::write(lintel.config_path(), whole(&version(&origin, "4"))).unwrap();
    answers(&lintel, "4").await;
    takes(Duration::from_millis(1500)).await;
    assert_eq!(reloads(&lintel), 3, "one reload for each change");
}

#[tokio::test]
async fn without_watch_nothing_is_taken_unasked() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(version(&origin, "1").replace("watch: true", "watch: false")).await;
    lintel.rewrite(&version(&origin, "2"));
    takes(Duration::from_millis(2000)).await;
    assert_eq!((get(lintel.http(), "/version").await.text(), reloads(&lintel)), ("1".to_owned(), 0));
    // By SIGHUP it is, and then it watches.
    lintel.signal(rustix::process::Signal::HUP);
    answers(&lintel, "2").await;
    lintel.rewrite(&version(&origin, "3"));
    answers(&lintel, "3").await;
}

#[tokio::test]
async fn what_was_reloaded_by_hand_is_not_reloaded_again() {
    let origin = Origin::named("one");
    let mut lintel = Lintel::start(version(&origin, "1")).await;
    for number in ["2", "3"] {
        lintel.reload(&version(&origin, number)).await;
        answers(&lintel, number).await;
    }
    takes(Duration::from_millis(1700)).await;
    assert_eq!(reloads(&lintel), 2);
    // Neither is what says the same as before.
    lintel.rewrite(&version(&origin, "3"));
    takes(Duration::from_millis(1700)).await;
    assert_eq!(reloads(&lintel), 2);
}

/// A folder as Kubernetes mounts a ConfigMap: links to `..data`, itself a link to a version.
struct ConfigMap<'a>(&'a Path);

impl ConfigMap<'_> {
    fn publish(&self, number: &str, files: &[(&str, String)]) {
        let folder = self.0.join(format!("..v{number}"));
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        symlink(format!("..v{number}"), self.0.join("..data_tmp")).unwrap();
        let before = fs::read_link(self.0.join("..data"));
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
        for (name, _) in files {
            let _ = symlink(format!("..data/{name}"), self.0.join(name));
        }
        if let Ok(before) = before {
            fs::remove_dir_all(self.0.join(before)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_config_map_is_followed() {
    let origin = Origin::named("one");
    let setup = Setup::new(version(&origin, "0"));
    let mounted = setup.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let map = ConfigMap(&mounted);
    let main = |include: &str| whole(&(front(&[&origin], "") + &format!("include: {include}\n{WATCH}")));
    let part = |number: &str| format!("routes:\n{}", route(number));
    map.publish("1", &[("lintel.yaml", main("\"*.part.yaml\"")), ("a.part.yaml", part("1"))]);
    let lintel = setup.start_at("mounted/lintel.yaml").await;
    answers(&lintel, "1").await;
    for number in ["2", "3"] {
        map.publish(number, &[("lintel.yaml", main("\"*.part.yaml\"")), ("a.part.yaml", part(number))]);
        answers(&lintel, number).await;
    }
}

#[tokio::test]
async fn included_files_count_and_so_do_those_that_a_pattern_finds_anew() {
    let origin = Origin::named("one");
    let included = |patterns: &str| front(&[&origin], "") + &format!("include: {patterns}\n{WATCH}");
    for (patterns, name) in [("conf.d/*.yaml", "conf.d/a.yaml"), ("[conf.d/b.yaml, conf.d/*.yml]", "conf.d/a.yml"), ("\"extra-*.yaml\"", "extra-a.yaml")] {
        let setup = Setup::new(included(patterns));
        fs::create_dir(setup.path().join("conf.d")).unwrap();
        fs::write(setup.path().join("conf.d/b.yaml"), "policies: {}\n").unwrap();
        if patterns.starts_with("conf.d") {
            // The pattern finds nothing at first.
            fs::remove_file(setup.path().join("conf.d/b.yaml")).unwrap();
        }
        let lintel = setup.start().await;
        assert_eq!(get(lintel.http(), "/version").await.text(), "one", "nobody answers for it yet");
        let path = lintel.path().join(name);
        fs::write(&path, format!("routes:\n{}", route("1"))).unwrap();
        answers(&lintel, "1").await;
        fs::write(&path, format!("routes:\n{}", route("2"))).unwrap();
        answers(&lintel, "2").await;
        fs::remove_file(&path).unwrap();
        answers(&lintel, "one").await;
    }
}

#[tokio::test]
async fn a_refused_file_is_taken_as_soon_as_any_part_of_it_is_mended() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(version(&origin, "1")).await;
    let refused = async |what: &str| {
        eventually(what, async || {
            let status = lintel.status().await;
            (!status["last_reload"]["problems"].as_array().unwrap().is_empty()).then_some(())
        })
        .await;
        assert_eq!(get(lintel.http(), "/version").await.text(), "1", "{what}");
    };
    // What it includes now has a problem, then none.
    let part = lintel.path().join("part.yaml");
    fs::write(&part, "routes: [{ nonsense: 1 }]\n").unwrap();
    lintel.rewrite(&(front(&[&origin], "") + &format!("include: part.yaml\n{WATCH}")));
    refused("the included file is refused").await;
    fs::write(&part, format!("routes:\n{}", route("2"))).unwrap();
    answers(&lintel, "2").await;
    assert!(lintel.status().await["last_reload"]["problems"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_file_is_taken_as_soon_as_what_it_names_is_there() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(version(&origin, "1")).await;
    let refused = async || {
        eventually("the file is refused", async || {
            let status = lintel.status().await;
            (!status["last_reload"]["problems"].as_array().unwrap().is_empty()).then_some(())
        })
        .await;
    };
    // An included file that comes later.
    let included = front(&[&origin], "") + &format!("include: late.yaml\n{WATCH}");
    lintel.rewrite(&included);
    refused().await;
    fs::write(lintel.path().join("late.yaml"), format!("routes:\n{}", route("2"))).unwrap();
    answers(&lintel, "2").await;
    // A certificate that comes later.
    let authority = crate::support::tls::Authority::new(lintel.path(), "authority");
    let leaf = authority.issue(&["a.test"]);
    let aside = lintel.path().join("aside.crt");
    fs::rename(&leaf.cert, &aside).unwrap();
    let secure = version(&origin, "3").replace(
        "listeners:\n",
        &format!("listeners:\n  secure: {{ address: \"127.0.0.2:0\", tls: {{ certificates: [{}] }} }}\n", leaf.yaml()),
    );
    lintel.rewrite(&secure);
    refused().await;
    fs::rename(&aside, &leaf.cert).unwrap();
    answers(&lintel, "3").await;
}

#[tokio::test]
async fn a_change_during_the_start_is_not_missed() {
    let origin = Origin::down("slow");
    // Checks that get no answer hold the start up.
    let silent = Origin::scripted(|mut talk| async move { talk.hang().await });
    let slow = |number: &str| {
        version(&origin, number).replace("pools:\n", &format!("pools:\n  slow: {{ servers: [\"{}\"], health_check: {{ path: /, timeout: 2s, interval: 3s }} }}\n", silent.address()))
            .replace("routes:\n", "routes:\n  - { name: slow, match: { path: /slow }, to: slow }\n")
    };
    let setup = Setup::new(slow("1"));
    let mut lintel = setup.spawn();
    eventually("its checks have begun", async || (silent.connections() > 0).then_some(())).await;
    lintel.rewrite(&slow("2"));
    lintel.become_ready().await;
    answers(&lintel, "2").await;
}
