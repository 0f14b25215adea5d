//! Whose the files are that this program makes in folders of others.

use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

/// Gives what was made in a folder, with all in it, to the user whose folder it is: what root adds by the command line
/// the server's user has to read. Nobody else can give files away, so that for others this only warns.
pub(crate) fn give_to_owner_of(folder: &Path, made: &Path) {
    let (Ok(folder), Ok(now)) = (fs::metadata(folder), fs::symlink_metadata(made)) else { return };
    if folder.uid() == now.uid() {
        return;
    }
    if let Err(error) = give(made, folder.uid(), folder.gid()) {
        tracing::warn!(path = %made.display(), %error, "a server of the user whose folder this is in may not be able to read it");
    }
}

fn give(path: &Path, user: u32, group: u32) -> std::io::Result<()> {
    lchown(path, Some(user), Some(group))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}
