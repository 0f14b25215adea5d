//! Whose the files are that this program makes in folders of others.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    },
    path::Path,
};

/// Gives what was made in a folder, with all in it, to the user whose folder it is: what root adds by the command line
/// the server's user has to read. Nobody else can give files away, so that for others this only warns.
pub(crate) fn give_to_owner_of(folder: &Path, made: &Path) {
    let (Ok(folder), Ok(now)) = (fs::metadata(folder), fs::symlink_metadata(made)) else { return };
    if folder.uid() == now.uid() {
        return;
    }
    if let Err(error) = give(made, now.uid(), (folder.uid(), folder.gid())) {
        tracing::warn!(path = %made.display(), %error, "a server of the user whose folder this is in may not be able to read it");
    }
}

/// What is in a folder before the folder itself, and nothing by its path: that user could put a link in the place of what
/// was looked at, and be given any file of the machine.
fn give(path: &Path, from: u32, to: (u32, u32)) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    // A second name may stand where only others may write.
    let is_ours = metadata.uid() == from && (metadata.is_dir() || metadata.nlink() == 1);
    if !is_ours {
        return Err(io::Error::other("somebody else has put something there"));
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd()))? {
            give(&entry?.path(), from, to)?;
        }
    }
    fchown(&file, Some(to.0), Some(to.1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    const SERVER: u32 = 12_345;

    /// Only root can give anything away: for others there is nothing to be seen.
    #[test]
    fn what_root_makes_becomes_the_folders_owners_and_nothing_that_a_link_leads_to() {
        let world = tempfile::tempdir().unwrap();
        let at = |name: &str| world.path().join(name);
        for folder in ["models", "models/made", "models/made/sub", "models/linked"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["models/made/sub/model.onnx", "secret"] {
            fs::write(at(file), "x").unwrap();
        }
        symlink(at("secret"), at("models/linked/model.onnx")).unwrap();
        symlink(at("secret"), at("models/link")).unwrap();
        fs::create_dir(at("models/named")).unwrap();
        fs::hard_link(at("secret"), at("models/named/model.onnx")).unwrap();
        if chown(at("models"), Some(SERVER), Some(SERVER)).is_err() {
            return;
        }
        for made in ["models/made", "models/linked", "models/link", "models/named"] {
            give_to_owner_of(&at("models"), &at(made));
        }
        let owner = |name: &str| fs::symlink_metadata(at(name)).unwrap().uid();
        for given in ["models/made", "models/made/sub", "models/made/sub/model.onnx"] {
            assert_eq!(owner(given), SERVER, "{given}");
        }
        for kept in ["secret", "models/linked", "models/named"] {
            assert_ne!(owner(kept), SERVER, "{kept}");
        }
    }
}
