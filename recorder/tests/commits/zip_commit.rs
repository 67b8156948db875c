//! Atomic commits: at any moment the old file is there whole, or the new one is.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use rekindle_recorder::io::commit;
use rekindle_recorder::{Error, ErrorKind, IoResultExt as _, Result};

use crate::STARTS;

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).doing("cannot write the file")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_created_and_replaced_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    for content in [b"first".to_vec(), vec![7; 1_000_000], Vec::new()] {
        commit(&path, true, |out| content.chunks(1000).try_for_each(|chunk| put(out, chunk))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(names(folder.path()), ["run.pt"]);
    }
}

#[test]
fn an_error_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    let fail = |out: &mut dyn Write| {
        put(out, &vec![1; 500_000])?;
        Err(Error::new(ErrorKind::Invalid("the disk is full".to_owned())))
    };
    let error = commit(&path, true, fail).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: the disk is full", path.display()));
    assert!(names(folder.path()).is_empty());
    fs::write(&path, b"old").unwrap();
    commit(&path, true, fail).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["run.pt"]);
}

#[test]
fn an_existing_file_is_not_replaced_unless_asked_and_no_work_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    fs::write(&path, b"old").unwrap();
    let error = commit(&path, false, |_| panic!("nothing should be written")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists));
    assert!(error.to_string().contains("run.pt: the file exists already"));
    // Nor is one that appears while the new one is being written.
    fs::remove_file(&path).unwrap();
    let error = commit(&path, false, |out| {
        fs::write(&path, b"other").unwrap();
        put(out, b"new")
    })
    .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists));
    assert_eq!(fs::read(&path).unwrap(), b"other");
    assert_eq!(names(folder.path()), ["run.pt"]);
}

#[test]
fn two_who_create_one_file_do_not_both_succeed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(round.to_string());
        let create = |who: u8| commit(&path, false, |out| put(out, &[who; 1000])).is_ok();
        let [a, b] = std::thread::scope(|scope| {
            [1, 2].map(|who| scope.spawn(move || create(who))).map(|thread| thread.join().unwrap())
        });
        assert!(a != b);
        assert_eq!(fs::read(&path).unwrap(), [if a { 1 } else { 2 }; 1000]);
    }
    assert_eq!(names(folder.path()).len(), 20);
}

#[test]
fn a_reader_keeps_the_file_it_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    fs::write(&path, vec![1_u8; 200_000]).unwrap();
    let old = rekindle_recorder::io::FileBytes::open(&path).unwrap();
    commit(&path, true, |out| put(out, b"new")).unwrap();
    assert!(old.iter().all(|&byte| byte == 1) && old.len() == 200_000);
}

#[test]
fn folders_devices_and_missing_folders_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &Path| commit(path, true, |out| put(out, b"new")).unwrap_err().to_string();
    assert!(write(folder.path()).contains("there is a folder of this name"));
    assert!(write(&folder.path().join("none/run.pt")).contains("cannot create a file in the folder"));
    #[cfg(unix)]
    assert!(write(Path::new("/dev/null")).contains("there is a device or a pipe of this name"));
    assert!(write(Path::new("..")).contains("folder"));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("runs")).unwrap();
        let (last, real) = (folder.path().join("last.pt"), folder.path().join("runs/3.pt"));
        symlink("runs/3.pt", &last).unwrap();
        // At first the link leads nowhere.
        for content in [b"one", b"two"] {
            commit(&last, true, |out| put(out, content)).unwrap();
            assert!(fs::symlink_metadata(&last).unwrap().is_symlink());
            assert_eq!(fs::read(&real).unwrap(), content);
        }
        assert!(matches!(commit(&last, false, |_| Ok(())).unwrap_err().kind(), ErrorKind::Exists));
        assert_eq!(names(&folder.path().join("runs")), ["3.pt"]);
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(commit(&circle, true, |_| Ok(())).unwrap_err().to_string().contains("symbolic links"));
    }

    #[test]
    fn a_new_file_has_the_mode_of_any_new_file_and_a_replaced_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("run.pt"), folder.path().join("other"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        File::create(&other).unwrap();
        commit(&path, true, |out| put(out, b"new")).unwrap();
        assert_eq!(mode(&path), mode(&other));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        commit(&path, true, |out| put(out, b"newer")).unwrap();
        assert_eq!(mode(&path) & 0o777, 0o640);
    }
}

#[test]
fn what_a_killed_process_left_is_swept_and_what_a_live_one_writes_is_not() {
    let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    let dead = folder.path().join(".run.pt.rekindle-1-abcdefgh.tmp");
    let alive = folder.path().join(".run.pt.rekindle-1-ijklmnop.tmp");
    let unrelated = folder.path().join(".run2.pt.rekindle-1-abcdefgh.tmp");
    for path in [&dead, &alive, &unrelated] {
        fs::write(path, b"half").unwrap();
    }
    let lock = File::open(&alive).unwrap();
    lock.lock().unwrap();
    commit(&path, true, |out| put(out, b"new")).unwrap();
    assert!(!dead.exists() && alive.exists() && unrelated.exists());
    drop(lock);
    commit(&path, true, |out| put(out, b"newer")).unwrap();
    assert!(!alive.exists() && unrelated.exists());
}

/// The content of the file that the child of the next test commits over and over: its number, many times.
fn content(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1 << 18)
}

#[test]
fn fifty_kills_at_any_moment_leave_a_whole_file_and_no_litter() {
    const TARGET: &str = "REKINDLE_TEST_COMMIT_TARGET";
    if let Some(target) = std::env::var_os(TARGET) {
        // This is the child.
        for number in 1.. {
            let content = content(number);
            commit(Path::new(&target), true, |out| content.chunks(1 << 16).try_for_each(|piece| put(out, piece)))
                .unwrap();
        }
    }
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    commit(&path, true, |out| put(out, &content(0))).unwrap();
    let (mut replaced, mut litter) = (0, 0);
    for kill in 0..50_u64 {
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "zip_commit::fifty_kills_at_any_moment_leave_a_whole_file_and_no_litter"])
            .env(TARGET, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Every other child is killed some time after its first commit, the others at a moment of their start.
        let committed = || fs::metadata(&path).unwrap().modified().unwrap() != before;
        while kill % 2 == 0 && !committed() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(kill * 337 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = fs::read(&path).unwrap();
        let number = u32::from_le_bytes(*bytes.first_chunk().unwrap());
        assert!(bytes == content(number), "after kill {kill} the file is torn");
        replaced += usize::from(fs::metadata(&path).unwrap().modified().unwrap() != before);
        let rest: Vec<String> = names(folder.path()).into_iter().filter(|name| name != "run.pt").collect();
        let staged =
            |name: &String| name.strip_suffix(".tmp").is_some_and(|name| name.starts_with(".run.pt.rekindle-"));
        assert!(rest.iter().all(staged), "{rest:?}");
        litter += rest.len();
    }
    assert!(replaced >= 25, "the children committed only {replaced} times");
    // Between naming and renaming, and on file systems where a file needs a name, a kill leaves one: until the next commit.
    println!("{litter} files were left by 50 kills");
    commit(&path, true, |out| put(out, b"new")).unwrap();
    assert_eq!(names(folder.path()), ["run.pt"]);
}
