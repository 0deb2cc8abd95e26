//! Windows and freezes on a running server, in virtual time.

use crate::operator::{self, applications, moves, run, serving, started, states, stored};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use jiff::{Timestamp, ToSpan};
use revshift_server::config::File;
use revshift_tests::OLD;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// How late the engine may be: its calls take some time.
const PROMPT: i64 = 5;

/// The id of a migration of `names`, one after the other.
async fn migrate(
    bed: &SimulatedBed,
    server: &SimulatedReplica,
    names: &[&str],
    window: Option<&str>,
) -> String {
    let extra: Vec<&str> = window.iter().flat_map(|window| ["--window", window]).collect();
    operator::migrate(bed, server, names, &extra).await
}

/// The next full minute that is at least so many minutes away.
fn minute(bed: &SimulatedBed, away: i64) -> Timestamp {
    let second = bed.sandbox.now().as_second();
    Timestamp::from_second((second / 60 + 1 + away) * 60).unwrap()
}

fn window(from: Timestamp, to: Timestamp) -> String {
    format!("daily {}-{} UTC", from.strftime("%H:%M"), to.strftime("%H:%M"))
}

async fn until(bed: &SimulatedBed, moment: Timestamp) {
    let wait = moment.duration_since(bed.sandbox.now());
    sleep(Duration::try_from(wait).unwrap()).await;
}

#[test]
fn what_is_held_begins_by_itself_when_its_window_opens() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let opening = minute(&bed, 60);
        let id = migrate(&bed, &server, &["a"], Some(&window(opening, opening + 2.hours()))).await;
        until(&bed, opening - 1.second()).await;
        assert_eq!(states(&bed, &id), ["PENDING"]);
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(
            (&status["state"], &status["hold"]["cause"]),
            (&"RUNNING".into(), &"WINDOW".into())
        );
        assert_eq!(status["hold"]["until"], opening.to_string());
        let progressing = &status["conditions"][1];
        assert_eq!(
            (&progressing["status"], &progressing["reason"]),
            (&"False".into(), &"Held".into())
        );
        let namespace = bed.sandbox.object("/api/v1/namespaces/a").unwrap();
        assert_eq!(namespace["metadata"]["labels"]["istio.io/rev"], OLD);
        run(&bed, &server, &["watch", &id]).await;
        assert_eq!(states(&bed, &id), ["MOVED"]);
        let late = started(&moves(&bed, &id)[0]).duration_since(opening).as_secs();
        assert!((0..=PROMPT).contains(&late), "begun {late} s after the opening");
        assert!(stored(&bed, &id)["status"]["hold"].is_null());
        // While it is open, what comes later begins at once.
        let id = migrate(&bed, &server, &["b"], Some(&window(opening, opening + 2.hours()))).await;
        run(&bed, &server, &["watch", &id]).await;
    });
}

#[test]
fn what_is_under_way_when_its_window_closes_goes_on_and_nothing_else_begins() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let closing = minute(&bed, 2);
        until(&bed, closing - 2.seconds()).await;
        let daily = window(closing - 10.minutes(), closing);
        let id = migrate(&bed, &server, &["a", "b"], Some(&daily)).await;
        until(&bed, closing + 1.second()).await;
        assert_eq!(states(&bed, &id), ["RESTARTING", "PENDING"]);
        sleep(Duration::from_mins(10)).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING"]);
        let opening = closing - 10.minutes() + 24.hours();
        let hold = stored(&bed, &id)["status"]["hold"].clone();
        assert_eq!(
            (&hold["cause"], &hold["until"]),
            (&"WINDOW".into(), &opening.to_string().into())
        );
        // Another leader holds it, and goes on with it, too.
        drop(server);
        let server = serving(&bed).await;
        until(&bed, opening - 1.second()).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING"]);
        run(&bed, &server, &["watch", &id]).await;
        let late = started(&moves(&bed, &id)[1]).duration_since(opening).as_secs();
        assert!((0..=PROMPT).contains(&late), "begun {late} s after the opening");
    });
}

/// Has the bed's servers follow the file, as real ones do.
async fn configured(bed: &SimulatedBed, path: &Path) {
    let file = File::open(path, Vec::new()).await.unwrap();
    let (mut read, config) = (file.subscribe(), bed.config.clone());
    tokio::spawn(file.follow());
    tokio::spawn(async move {
        while read.changed().await.is_ok() {
            config.send_replace(read.borrow_and_update().clone());
        }
    });
}

#[test]
fn a_freeze_in_the_configuration_file_holds_all_but_rollbacks_while_it_is_there() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b", "c"]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revshift.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("budgets: {namespaces: 1}\n");
        configured(&bed, &path).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a", "b", "c"], None).await;
        // The file is looked at every two seconds, sooner than a namespace moves.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(states(&bed, &id), ["RELABELING", "PENDING", "PENDING"]);
        let frozen = "freezes:\n- from: 2025-12-20T00:00:00Z\n  to: 2026-02-01 00:00 Europe/Berlin\n  \
                      reason: stocktaking\n";
        write(frozen);
        sleep(Duration::from_mins(10)).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING", "PENDING"]);
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(
            (&status["state"], &status["hold"]["cause"]),
            (&"RUNNING".into(), &"FREEZE".into())
        );
        assert_eq!(status["hold"]["until"], "2026-01-31T23:00:00Z");
        let shown = run(&bed, &server, &["status", &id]).await.stdout;
        assert!(
            shown.contains("the end of a freeze, Sat 2026-01-31 23:00 UTC (in 30d): stocktaking"),
            "{shown}"
        );
        let version = run(&bed, &server, &["version"]).await.stdout;
        let told = "frozen from 2025-12-20T00:00:00Z to 2026-01-31T23:00:00Z: stocktaking\n";
        assert!(version.contains(told), "{version}");
        // What cannot be used changes nothing.
        write(&frozen.replace("2025", "2027"));
        sleep(Duration::from_mins(1)).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING", "PENDING"]);
        let back = ["rollback", &id, "-n", "a", "--reason", "errors", "--yes"];
        run(&bed, &server, &back).await;
        assert_eq!(states(&bed, &id), ["SUPERSEDED", "PENDING", "PENDING"]);

        run(&bed, &server, &["resume", &id]).await;
        sleep(Duration::from_mins(10)).await;
        assert_eq!(states(&bed, &id), ["SUPERSEDED", "PENDING", "PENDING"]);
        let before = bed.sandbox.now();
        write("# nothing is frozen any more\n");
        sleep(Duration::from_mins(10)).await;
        assert_eq!(states(&bed, &id), ["SUPERSEDED", "MOVED", "MOVED"]);
        let late = started(&moves(&bed, &id)[1]).duration_since(before).as_secs();
        assert!(late <= PROMPT, "begun {late} s after the file had changed");
    });
}
