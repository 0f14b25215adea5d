//! A SQLite file has other visitors: the command line beside the server, a person with the shell of SQLite.

use std::path::Path;
use std::process::Command;

use storage::{Durable, Store};

use crate::world::World;

/// The last to leave removes the write-ahead log. Were this process's locks gone, a visitor would take itself for that,
/// and what is committed afterwards would go to a file that nobody finds again.
#[tokio::test]
async fn a_visitor_leaves_the_log_of_a_running_store_where_it_is() {
    let world = World::sqlite().await;
    let Durable::Sqlite { path } = world.durable() else { unreachable!() };
    // As the program does at its start: one store to migrate, one to work with.
    let second = Store::connect(world.durable(), world.store.clock().clone()).await.unwrap();
    world.store.close().await;
    let visit = Command::new("sqlite3").arg(&path).arg("SELECT count(*) FROM roles").output();
    let visit = visit.expect("sqlite3: run ./scripts/test, which installs it");
    assert!(visit.status.success(), "{visit:?}");
    assert!(Path::new(&format!("{}-wal", path.display())).exists(), "the log was removed");
    second.close().await;
}
