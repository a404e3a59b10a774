//! Who may open what Lintel makes, and what is in it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::house::House;
use crate::support::lintel::{Setup, front};
use crate::support::tls::Authority;
use crate::support::{Lintel, Origin, eventually};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everything below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], below(&path)].concat() } else { vec![path] })
        .collect()
}

#[tokio::test]
async fn nothing_that_lintel_makes_can_be_read_by_others_or_holds_a_secret_in_vain() {
    let house = House::start().await;
    for folder in ["run", "state"] {
        for path in below(&house.lintel.path().join(folder)) {
            let name = path.display().to_string();
            assert_eq!(
                mode(&path) & 0o002,
                if name.ends_with("workers.sock") { mode(&path) & 0o002 } else { 0 },
                "{name}"
            );
            house.holds_none("a name", &name);
            if path.is_file() && !name.ends_with("sticky.key") {
                house.holds_none(&name, &String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            }
        }
    }
    assert_eq!(mode(&house.lintel.path().join("run/admin.sock")), 0o600);
}

#[tokio::test]
async fn files_and_sockets_of_lintel_are_for_their_owner() {
    let origin = Origin::named("one");
    let setup = Setup::new("");
    let folder = setup.path().display().to_string();
    let yaml = front(&[&origin], "sticky: { cookie: s }")
        .replace("\"127.0.0.1:0\"", &format!("\"unix:{folder}/front.sock\""))
        + &format!(
            "observability:\n  access_log: {{ path: \"{folder}/access.log\" }}\n  log: {{ format: json }}\n"
        )
        + "runtime: { state_directory: made/state, run_directory: made/run }\n";
    std::fs::write(setup.path().join("house.yaml"), yaml).unwrap();
    let lintel = setup.start_at("house.yaml").await;
    let path = |name: &str| lintel.path().join(name);
    eventually("the access log is there", async || path("access.log").exists().then_some(())).await;
    for (name, least) in [
        ("made/run/admin.sock", 0o077),
        ("made/state/sticky.key", 0o077),
        ("front.sock", 0o007),
        ("access.log", 0o027),
        ("made/state", 0o007),
        ("made/run", 0o007),
    ] {
        assert_eq!(mode(&path(name)) & least, 0, "{name} has mode {:o}", mode(&path(name)));
    }
    drop(lintel);
}

#[tokio::test]
async fn secrets_that_everybody_can_read_are_warned_about() {
    let origin = Origin::named("one");
    let files = tempfile::tempdir().unwrap();
    let leaf = Authority::new(files.path(), "authority").issue(&["a.test"]);
    let place = |name: &str| files.path().join(name);
    for name in ["sticky", "token"] {
        std::fs::write(place(name), "a-secret-of-enough-bytes").unwrap();
    }
    let own = front(
        &[&origin],
        &format!(
            "sticky: {{ cookie: s, secret: {{ file: \"{}\" }} }}\ntls: {{ server_name: a.test, insecure_skip_verify: true, cert: \"{}\", key: \"{}\" }}",
            place("sticky").display(),
            leaf.cert.display(),
            leaf.key.display()
        ),
    );
    let yaml = own.replace(
        "pools:\n",
        &format!(
            "  https: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{}] }} }}\npools:\n",
            leaf.yaml()
        ),
    ) + &format!(
        "admin: {{ address: \"127.0.0.1:0\", token: {{ file: \"{}\" }} }}\n",
        place("token").display()
    );
    let told = async |mode: u32| {
        for path in [&place("sticky"), &place("token"), &leaf.key] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let lintel = Lintel::start(yaml.clone()).await;
        let said = lintel.run(&["check"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(
            said.stderr.matches("can be").count(),
            lintel.log.text().matches("can be read").count()
                + lintel.log.text().matches("can be written").count(),
            "{said:?}"
        );
        said.stderr.matches("`chmod ").count()
    };
    assert_eq!(told(0o600).await, 0);
    assert_eq!(told(0o640).await, 0, "a group such as ssl-cert is somebody's intention");
    assert_eq!(told(0o644).await, 4, "two keys, the secret of cookies and the token");
}
