//! What is served changes while it is, and no call notices more than another version.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use inference::{DataType, DesiredState, Error, KnownFiles, Model, ModelStatus, Registry, Revision, State};

use crate::{
    fixture::{Repository, floats, request, ticket_for},
    onnx_file::{FLOAT, INT64, endless, identity},
};

/// Changes are numbered in their order.
fn next() -> Revision {
    static CHANGES: AtomicI64 = AtomicI64::new(0);
    Revision(CHANGES.fetch_add(1, Ordering::SeqCst) + 1)
}

/// Makes a model what is wanted of it, as an operator's wish does.
fn change(registry: &Registry, name: &str, desired: DesiredState) -> Result<(), String> {
    registry.publish(registry.prepare(name, desired)?, next());
    Ok(())
}

fn active(version: &str) -> DesiredState {
    DesiredState { active: Some(version.to_owned()), ..DesiredState::default() }
}

fn again(loads: i64) -> DesiredState {
    DesiredState { loads, ..DesiredState::default() }
}

fn status(registry: &Registry, version: &str) -> Option<ModelStatus> {
    registry.models().into_iter().find(|status| status.version == version)
}

fn ask(model: &Model) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(model.infer(request(vec![floats("x", &[1, 2], &[1.0, 2.0])]))).map(drop)
}

fn two_versions() -> Repository {
    Repository::new().with("m/1/model.onnx", identity(FLOAT)).with("m/2/model.onnx", identity(FLOAT))
}

#[test]
fn what_was_wanted_last_is_served_whatever_is_published_last() {
    let repository = two_versions();
    let registry = repository.open();
    let unloaded = DesiredState { unloaded: true, ..DesiredState::default() };
    let serves = |version: Option<&str>| {
        assert_eq!(registry.find("m", None).ok().map(|model| model.version().to_owned()).as_deref(), version);
    };
    let desired = |desired: &DesiredState| [("m".to_owned(), desired.clone())].into();

    let (before, first, second) = (next(), next(), next());
    let prepared = registry.prepare("m", unloaded.clone()).unwrap();
    registry.publish(registry.prepare("m", active("1")).unwrap(), second);
    registry.publish(prepared, first);
    serves(Some("1"));
    registry.reconcile(&desired(&unloaded), before);
    serves(Some("1"));

    // Another replica's change brought back what was there, which a change of before must not undo.
    let (third, fourth) = (next(), next());
    let late = registry.prepare("m", unloaded.clone()).unwrap();
    registry.reconcile(&desired(&active("1")), fourth);
    registry.publish(late, third);
    serves(Some("1"));
    registry.mark_unavailable("m", "3", "it answered 404");
    registry.publish(registry.prepare("m", active("2")).unwrap(), third);
    serves(Some("1"));

    registry.reconcile(&desired(&unloaded), next());
    serves(None);
}

#[test]
fn no_call_fails_while_versions_come_and_go() {
    const CHANGES: i64 = 100;
    let repository = two_versions();
    let registry = repository.open();
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_secs(60);
                while Instant::now() < until && !stop.load(Ordering::SeqCst) {
                    ask(&registry.find("m", None).unwrap()).unwrap();
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 0..CHANGES {
            let version = if number % 2 == 0 { "1" } else { "2" };
            let before = calls.load(Ordering::SeqCst);
            change(&registry, "m", DesiredState { loads: number, ..active(version) }).unwrap();
            let model = registry.find("m", None).unwrap();
            assert_eq!((model.version(), &*model.versions()), (version, &[version.to_owned()][..]));
            let until = Instant::now() + Duration::from_secs(10);
            while calls.load(Ordering::SeqCst) == before && Instant::now() < until {
                thread::sleep(Duration::from_micros(100));
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(calls.load(Ordering::SeqCst) >= 100);
    registry.shutdown();
}

#[test]
fn what_cannot_be_loaded_leaves_everything_as_it_was() {
    let repository = two_versions();
    let registry = repository.open();
    let repository = repository.with("m/3/model.onnx", "this is no model");
    let refused = change(&registry, "m", active("3")).unwrap_err();
    assert!(refused.contains("not a valid ONNX file"), "{refused}");
    let refused = change(&registry, "m", active("4")).unwrap_err();
    assert!(refused.contains("no folder 4/"), "{refused}");
    let refused = change(&registry, "m", again(1)).unwrap_err();
    assert!(refused.contains("not a valid ONNX file"), "the latest is broken: {refused}");
    let repository = repository.with("m/model.toml", "colour = 1");
    assert!(change(&registry, "m", again(1)).unwrap_err().contains("colour"));
    assert_eq!(registry.find("m", None).unwrap().version(), "2");

    // Another replica learns of it by following what is wanted: it goes on too, and says why.
    registry.reconcile(&[("m".to_owned(), again(1))].into(), next());
    let version = status(&registry, "2").unwrap();
    assert_eq!((version.state, version.active), (State::Ready, true));
    assert!(version.setback.unwrap().contains("colour"));
    assert!(registry.is_behind());
    let _repository = repository.with("m/model.toml", "").with("m/3/model.onnx", identity(FLOAT));
    registry.reconcile(&[("m".to_owned(), again(2))].into(), next());
    assert_eq!(registry.find("m", None).unwrap().version(), "3");
    assert_eq!((status(&registry, "3").unwrap().setback, registry.is_behind()), (None, false));
}

#[test]
fn what_is_wanted_holds_from_the_start() {
    let repository = two_versions().with("gone/1/model.onnx", identity(FLOAT));
    let unloaded = DesiredState { unloaded: true, ..DesiredState::default() };
    let desired = [("m".to_owned(), active("1")), ("gone".to_owned(), unloaded)].into();
    let registry = Registry::open_as(repository.settings.clone(), &desired, next(), KnownFiles::new());
    assert_eq!(registry.find("m", None).unwrap().version(), "1");
    assert!(matches!(registry.find("m", Some("2")), Err(Error::NotFound(_))));
    assert!(
        matches!(registry.find("gone", None), Err(Error::Unavailable(reason)) if reason.contains("unloaded"))
    );
}

#[test]
fn an_active_version_of_several_leaves_the_others_served() {
    let repository = two_versions().with("m/model.toml", "[versions]\nserve = \"all\"");
    let registry = repository.open();
    let second = registry.find("m", Some("2")).unwrap();
    change(&registry, "m", active("1")).unwrap();
    assert_eq!(registry.find("m", None).unwrap().version(), "1");
    let same = registry.find("m", Some("2")).unwrap();
    assert!(std::ptr::eq(&raw const *second, &raw const *same), "what did not change is not loaded again");
    change(&registry, "m", DesiredState { loads: 1, ..active("1") }).unwrap();
    let other = registry.find("m", Some("2")).unwrap();
    assert!(!std::ptr::eq(&raw const *second, &raw const *other), "told to, it is");
    assert_eq!(*other.versions(), ["1", "2"]);
}

#[test]
fn a_call_that_runs_when_its_model_goes_is_finished() {
    let repository = Repository::new()
        .with("m/1/model.onnx", endless())
        .with("m/model.toml", "[runtime]\nwarm_up = false");
    let registry = repository.open();
    let model = registry.find("m", None).unwrap();
    thread::scope(|scope| {
        let deadline = Duration::from_millis(600);
        let call = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut call = request(vec![floats("x", &[], &[1.0])]);
            call.ticket = ticket_for(deadline);
            runtime.block_on(model.infer(call)).map(drop)
        });
        thread::sleep(deadline / 4);
        change(&registry, "m", DesiredState { unloaded: true, ..DesiredState::default() }).unwrap();
        assert_eq!(status(&registry, "1").unwrap().state, State::Unloading);
        assert!(matches!(registry.find("m", None), Err(Error::Unavailable(_))));
        // It never ends by itself: it ends by its own deadline, not by the model's going.
        assert_eq!(call.join().unwrap(), Err(Error::Deadline));
    });
    let version = status(&registry, "1").unwrap();
    assert_eq!((version.state, version.reason.as_deref()), (State::Unavailable, Some("it was unloaded")));
    change(&registry, "m", again(1)).unwrap();
    assert_eq!(status(&registry, "1").unwrap().state, State::Ready);
}

#[test]
fn of_what_was_unloaded_nothing_goes_on_whatever_its_files_are() {
    let repository = two_versions();
    let registry = repository.open();
    let _repository = repository.with("m/2/model.onnx", identity(INT64));
    assert_eq!(registry.verify().len(), 1);
    assert!(status(&registry, "2").unwrap().setback.is_some());
    change(&registry, "m", DesiredState { unloaded: true, ..DesiredState::default() }).unwrap();
    assert_eq!(status(&registry, "2").unwrap().setback, None);
}

#[test]
fn files_that_are_not_those_served_first_are_not_loaded() {
    let repository = two_versions().with("m/model.toml", "[versions]\nserve = \"all\"");
    let registry = repository.open();
    assert_eq!(registry.verify(), []);
    let known = registry.unknown_files();
    assert_eq!(known.len(), 2);
    registry.set_known_files(known.clone());
    assert!(registry.unknown_files().is_empty());

    let repository = repository.with("m/2/model.onnx", identity(INT64));
    let changed = registry.verify();
    assert_eq!(
        (changed.len(), changed[0].version.as_str(), changed[0].file.as_str()),
        (1, "2", "model.onnx")
    );
    assert_eq!(registry.verify(), [], "each is told once");
    let seen = status(&registry, "2").unwrap();
    assert!(seen.state == State::Ready && seen.setback.unwrap().contains("changed on disk"));
    ask(&registry.find("m", Some("2")).unwrap()).unwrap();

    assert!(registry.prepare("m", again(1)).err().unwrap().contains("served first"));
    let other = Registry::open_as(repository.settings.clone(), &[].into(), next(), known);
    assert!(status(&other, "2").unwrap().reason.unwrap().contains("served first"));
    assert_eq!(other.find("m", None).unwrap().version(), "1");

    registry.publish(registry.prepare_changed("m", again(1)).unwrap(), next());
    assert_eq!(registry.find("m", None).unwrap().inputs()[0].datatype, DataType::Int64);
    assert_eq!(status(&registry, "2").unwrap().setback, None);
}

#[test]
fn a_first_run_without_end_is_ended() {
    let mut repository = Repository::new().with("m/1/model.onnx", endless());
    repository.settings.warm_up_time = Duration::from_millis(200);
    let registry = repository.open();
    assert_eq!(status(&registry, "1").unwrap().state, State::Ready);
    let mut call = request(vec![floats("x", &[], &[1.0])]);
    call.ticket = ticket_for(Duration::from_millis(100));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(registry.find("m", None).unwrap().infer(call));
    assert!(matches!(answer, Err(Error::Deadline)));
}

/// In a process of its own, where nothing else takes memory.
#[test]
fn threads_and_memory_come_back() {
    let test = "lifecycle::load_and_unload_again_and_again";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", test, "--ignored"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
#[ignore = "the test before runs it"]
fn load_and_unload_again_and_again() {
    const CYCLES: i64 = 100;
    let repository = Repository::new().with("m/1/model.onnx", identity(FLOAT));
    let registry = repository.open();
    let cycle = |number| {
        change(&registry, "m", again(number)).unwrap();
        ask(&registry.find("m", None).unwrap()).unwrap();
        change(&registry, "m", DesiredState { unloaded: true, ..DesiredState::default() }).unwrap();
    };
    (0..10).for_each(cycle);
    let before = resident();
    (10..CYCLES + 10).for_each(cycle);
    let until = Instant::now() + Duration::from_secs(10);
    while threads_of("model m") > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(threads_of("model m"), 0, "the threads of a model end with it");
    let grown = resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{CYCLES} cycles took {} MiB", grown >> 20);
}

/// The threads of this process whose names begin so.
fn threads_of(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
