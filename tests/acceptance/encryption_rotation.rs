//! `ENCRYPTION_KEY` is replaced while people work: nothing is refused, nothing is lost, and the old key can go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use data_encoding::BASE64;
use serde_json::json;

use crate::harness::{Finished, Pair, Person, Server, Tokens, World, promise};

const ME: &str = "/api/v1/me";
const ROTATE: [&str; 2] = ["keys", "rotate-encryption"];

/// A key of these tests, in the form of the settings.
fn key(world: &World, number: u8) -> String {
    let bytes: Vec<u8> = (0..32).map(|index| index ^ number).collect();
    let key = BASE64.encode(&bytes);
    world.remember(&key);
    key
}

/// How many values of a column the command says it sealed anew.
#[track_caller]
fn sealed_anew(rotated: &Finished, column: &str) -> u64 {
    let line = rotated.stdout.lines().find_map(|line| line.strip_prefix(column)?.strip_prefix(": "));
    let number = line.and_then(|line| line.strip_suffix(" sealed anew")?.parse().ok());
    number.unwrap_or_else(|| panic!("nothing of {column}: {rotated:?}"))
}

/// Uses the server in every way that opens something sealed, until told to stop. Gives the last refresh token.
fn work(server: &Server, person: &Person, stop: &AtomicBool) -> String {
    let mut refresh = person.tokens.refresh.clone();
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) || round < 3 {
        refresh = Tokens::of(&server.refresh(&refresh).is(200)).refresh;
        let name = format!("{} Busy", ["Ada", "Grace", "Edsger"][round % 3]);
        assert_eq!(person.api.put(ME, &json!({"name": name})).is(200).member("name"), name);
        server.log_in(&person.email, &person.password);
        round += 1;
    }
    refresh
}

promise! {
    fn the_key_is_replaced_while_people_work(pair) {
        let world = World::new(pair);
        let (old, new) = (key(&world, 1), key(&world, 2));
        let mut server = world.start(&[("ENCRYPTION_KEY", &old)]);
        let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
        assert_eq!(server.stop(), Some(0));

        let mut server = world.start(&[("ENCRYPTION_KEY", &new), ("ENCRYPTION_KEYS_PREVIOUS", &old)]);
        let ada = Person { api: server.user(&ada.tokens.access), ..ada };
        assert_eq!(ada.api.get(ME).is(200).member("email"), ada.email, "before");
        let stop = AtomicBool::new(false);
        let (rotated, refresh) = thread::scope(|scope| {
            let busy = scope.spawn(|| work(&server, &ada, &stop));
            let rotated = server.cli(&ROTATE, "");
            stop.store(true, Ordering::SeqCst);
            (rotated, busy.join().expect("no request was refused"))
        });
        assert_eq!(rotated.code, Some(0), "{rotated:?}");
        assert_eq!(sealed_anew(&rotated, "signing_keys.private_key"), 1);
        assert_eq!(sealed_anew(&rotated, "secrets.value"), 1);
        assert_eq!(sealed_anew(&rotated, "people.email"), 3);
        assert!(sealed_anew(&rotated, "people.name") >= 2, "what ada changed meanwhile is under the new key already");
        assert!(sealed_anew(&rotated, "sessions.family_key") >= 3);
        assert!(world.has_stored("encryption_key.rotated"));
        let again = server.cli(&ROTATE, "");
        assert!(again.stdout.contains("people.email: 0 sealed anew") && again.code == Some(0), "{again:?}");
        let name = ada.api.get(ME).is(200).member("name");
        assert!(name.ends_with(" Busy"), "{name}");
        assert_eq!(server.stop(), Some(0));

        let server = world.start(&[("ENCRYPTION_KEY", &new)]);
        assert_eq!(server.user(&ada.tokens.access).get(ME).is(200).member("name"), name, "after");
        server.refresh(&refresh).is(200);
        server.refresh(&grace.tokens.refresh).is(200);
        server.log_in(&grace.email, &grace.password);
        let found = server.user(&admin.tokens.access).get("/api/v1/admin/users?search=grace").is(200).items();
        assert_eq!(found[0]["email"], grace.email);
    }

    fn without_the_key_before_nothing_starts_and_nothing_is_lost(pair) {
        let world = World::new(pair);
        let (old, new) = (key(&world, 1), key(&world, 2));
        let mut server = world.start(&[("ENCRYPTION_KEY", &old)]);
        let ada = server.person("ada");
        assert_eq!(server.stop(), Some(0));
        for arguments in [&["serve"][..], &ROTATE] {
            let refused = world.run(arguments, &[("ENCRYPTION_KEY", &new)], "");
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains("ENCRYPTION_KEYS_PREVIOUS"), "{refused:?}");
            assert!(!refused.stderr.contains(&old) && !refused.stderr.contains(&new), "{refused:?}");
        }
        let server = world.start(&[("ENCRYPTION_KEY", &old)]);
        server.refresh(&ada.tokens.refresh).is(200);
    }

    fn what_does_not_open_is_told_and_left_as_it_is(pair) {
        let world = World::new(pair);
        let (old, new) = (key(&world, 1), key(&world, 2));
        let mut server = world.start(&[("ENCRYPTION_KEY", &old)]);
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        server.person("grace");
        assert_eq!(server.stop(), Some(0));
        world.swap_addresses(&ada, &eve);
        let both = [("ENCRYPTION_KEY", new.as_str()), ("ENCRYPTION_KEYS_PREVIOUS", &old)];
        let rotated = world.run(&ROTATE, &both, "");
        assert_eq!(rotated.code, Some(1), "{rotated:?}");
        assert_eq!(sealed_anew(&rotated, "people.email"), 1);
        assert_eq!(sealed_anew(&rotated, "people.name"), 3);
        assert!(rotated.stderr.contains("people.email: 2 are not under ENCRYPTION_KEY: people.email:"), "{rotated:?}");
        assert!(!rotated.stderr.contains("example.com"), "{rotated:?}");
        assert_eq!(world.start(&both).stop(), Some(0), "so that the file has all that was done");
        world.swap_addresses(&ada, &eve);
        let rotated = world.run(&ROTATE, &both, "");
        assert_eq!((rotated.code, sealed_anew(&rotated, "people.email")), (Some(0), 2), "{rotated:?}");
        let server = world.start(&[("ENCRYPTION_KEY", &new)]);
        assert_eq!(server.log_in(&ada.email, &ada.password).api.get(ME).json()["email"], ada.email);
    }
}

/// How several replicas get there: first all can open what is to come, then they seal with it.
#[test]
fn replicas_with_either_key_active_work_side_by_side() {
    let world = World::new(Pair::Shared);
    let (old, new) = (key(&world, 1), key(&world, 2));
    let first = world.start(&[("ENCRYPTION_KEY", &old), ("ENCRYPTION_KEYS_PREVIOUS", &new)]);
    let second = world.start(&[("ENCRYPTION_KEY", &new), ("ENCRYPTION_KEYS_PREVIOUS", &old)]);
    for (here, there, name) in [(&first, &second, "ada"), (&second, &first, "grace")] {
        let person = here.person(name);
        assert_eq!(there.user(&person.tokens.access).get(ME).is(200).member("email"), person.email);
        there.refresh(&person.tokens.refresh).is(200);
    }
    assert_eq!(second.cli(&ROTATE, "").code, Some(0));
    for server in [&first, &second] {
        server.log_in("ada@example.com", "Correct-horse-battery-9");
    }
}

#[test]
fn in_development_the_file_of_keys_may_hold_several() {
    let world = World::new(Pair::Embedded);
    let mut server = world.start(&[]);
    let ada = server.person("ada");
    assert_eq!(server.stop(), Some(0));
    let path = world.folder().join("data/encryption.key");
    let (old, new) = (std::fs::read_to_string(&path).expect("a key"), key(&world, 2));
    std::fs::write(&path, format!("{new}\n{old}\n")).expect("keys");
    let rotated = world.run(&ROTATE, &[], "");
    assert_eq!((rotated.code, sealed_anew(&rotated, "people.name")), (Some(0), 1), "{rotated:?}");
    std::fs::write(&path, &new).expect("a key");
    world.start(&[]).log_in(&ada.email, &ada.password);
    std::fs::write(&path, "\n").expect("no key");
    let refused = world.run(&["serve"], &[], "");
    assert!(refused.code == Some(1) && refused.stderr.contains("encryption.key"), "{refused:?}");
}
