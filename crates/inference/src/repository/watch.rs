//! Polls the repository for changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::Path,
    time::SystemTime,
};

use super::{PassedOver, folders, log_passed_over, passed_over};

/// Files of one model that are looked at: more are in no folder that a person keeps.
const MAX_FILES: usize = 100_000;

/// What lies in a model's folder: sizes and times. Links to folders are not followed.
type Snapshot = BTreeMap<String, (u64, Option<SystemTime>)>;

/// What was seen of a repository.
#[derive(Debug, Default)]
pub struct Watch {
    /// At the last look.
    seen: BTreeMap<String, Snapshot>,
    /// When its change was last returned, or at the first look.
    reported: Option<BTreeMap<String, Snapshot>>,
    /// What was passed over at the last look; that of the first look is logged when the repository is opened.
    passed_over: Option<PassedOver>,
    /// Whether the last look saw nothing at all.
    is_unreadable: bool,
}

impl Watch {
    /// Looks once and returns the models whose folders changed and have come to rest since: two looks in a row saw the
    /// same, so that nothing half-copied is loaded. The first look returns none.
    pub fn look(&mut self, model_dir: &Path) -> Vec<String> {
        let folders = match folders(model_dir) {
            Ok(folders) => folders,
            Err(error) => {
                if !mem::replace(&mut self.is_unreadable, true) {
                    tracing::error!(folder = %model_dir.display(), %error, "the model folder cannot be read; no change is seen");
                }
                return Vec::new();
            }
        };
        if mem::take(&mut self.is_unreadable) {
            tracing::info!(folder = %model_dir.display(), "the model folder can be read again");
        }
        log_passed_over(None, &self.newly_passed_over(passed_over(model_dir)));
        let now: BTreeMap<String, Snapshot> =
            folders.into_iter().map(|(name, folder)| (name, snapshot(&folder))).collect();
        let before = mem::replace(&mut self.seen, now);
        let Some(reported) = &mut self.reported else {
            self.reported = Some(self.seen.clone());
            return Vec::new();
        };
        let names: BTreeSet<&String> = self.seen.keys().chain(reported.keys()).collect();
        let is_due = |name: &&&String| {
            let now = self.seen.get(**name);
            now == before.get(**name) && now != reported.get(**name)
        };
        let due: Vec<String> = names.iter().filter(is_due).map(|name| (**name).clone()).collect();
        for name in &due {
            match self.seen.get(name) {
                Some(snapshot) => drop(reported.insert(name.clone(), snapshot.clone())),
                None => drop(reported.remove(name)),
            }
        }
        due
    }

    /// Has a change returned again: it came to nothing.
    pub fn tell_again(&mut self, name: &str) {
        if let Some(reported) = &mut self.reported {
            // As no folder is: no file is without a name.
            reported.insert(name.to_owned(), Snapshot::from([(String::new(), (0, None))]));
        }
    }

    /// What is passed over now and was not at the last look, or for another reason.
    fn newly_passed_over(&mut self, now: PassedOver) -> PassedOver {
        let Some(before) = self.passed_over.replace(now.clone()) else { return PassedOver::new() };
        now.into_iter().filter(|(name, reason)| before.get(name) != Some(reason)).collect()
    }
}

fn snapshot(folder: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut unread = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = unread.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if snapshot.len() + unread.len() >= MAX_FILES {
                return snapshot;
            }
            if metadata.is_dir() {
                unread.push((format!("{name}/"), entry.path()));
            } else {
                snapshot.insert(name, (metadata.len(), metadata.modified().ok()));
            }
        }
    }
    snapshot
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn what_has_come_to_rest_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("old/1/model.onnx", "a");
        let mut watch = Watch::default();
        let mut look = || watch.look(folder.path());
        assert_eq!((look(), look()), (vec![], vec![]), "what was there at first is no news");
        write("new/1/model.onnx", "a");
        assert_eq!(look(), [] as [String; 0]);
        write("new/1/model.onnx", "ab");
        assert_eq!(look(), [] as [String; 0], "it still grows");
        assert_eq!((look(), look()), (vec!["new".to_owned()], vec![]));
        write("old/1/weights/part/a.bin", "");
        assert_eq!(
            (look(), look(), look()),
            (vec![], vec!["old".to_owned()], vec![]),
            "however deep it lies"
        );
        write("old/model.toml", "");
        fs::remove_dir_all(folder.path().join("new")).unwrap();
        assert_eq!(look(), [] as [String; 0]);
        assert_eq!((look(), look()), (vec!["new".to_owned(), "old".to_owned()], vec![]));
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(look(), [] as [String; 0]);
    }

    #[test]
    fn what_came_to_nothing_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::default();
        watch.look(folder.path());
        fs::create_dir(folder.path().join("model")).unwrap();
        let due = ["model".to_owned()];
        watch.look(folder.path());
        assert_eq!(watch.look(folder.path()), due);
        watch.tell_again("model");
        assert_eq!(watch.look(folder.path()), due);
        assert_eq!(watch.look(folder.path()), [] as [String; 0]);
    }

    #[test]
    fn what_is_passed_over_is_told_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::default();
        let mut news = || {
            let news = watch.newly_passed_over(passed_over(folder.path()));
            news.into_keys().collect::<Vec<_>>()
        };
        fs::write(folder.path().join("loose.onnx"), "").unwrap();
        assert_eq!(news(), [] as [String; 0], "told when the repository was opened");
        for name in ["a model", ".hidden", "model"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("README.md"), "").unwrap();
        assert_eq!(news(), ["a model"]);
        assert_eq!(news(), [] as [String; 0]);
        fs::remove_file(folder.path().join("loose.onnx")).unwrap();
        assert_eq!(news(), [] as [String; 0]);
        fs::write(folder.path().join("loose.onnx"), "").unwrap();
        assert_eq!(news(), ["loose.onnx"]);
    }
}
