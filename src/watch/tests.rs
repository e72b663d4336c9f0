//! Changes of a file, and whether the watch notices them.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Long enough for a hint to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn settled(path: &Path) -> Watch {
    let mut watch = Watch::new(vec![path.to_owned()]);
    watch.changed().await;
    assert!(matches!(watch.way, Way::Told(_)), "inotify can be used here");
    watch
}

async fn notices(watch: &mut Watch, what: &str) {
    timeout(PATIENCE, watch.changed()).await.unwrap_or_else(|_| panic!("{what} is noticed"));
}

#[tokio::test]
async fn whatever_leads_to_other_content_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let path = root.join("conf/schedule.yaml");
    fs::create_dir(root.join("conf")).expect("a directory");
    fs::write(&path, "1").expect("a file");
    let mut watch = settled(&path).await;

    fs::write(&path, "2").expect("a file");
    notices(&mut watch, "a write").await;
    fs::write(root.join("conf/.swp"), "3").expect("a file");
    fs::rename(root.join("conf/.swp"), &path).expect("a rename");
    notices(&mut watch, "an editor's rename").await;
    fs::write(&path, "4").expect("a file");
    notices(&mut watch, "a write into the new file").await;
    fs::remove_file(&path).expect("a removal");
    notices(&mut watch, "a removal").await;
    fs::write(&path, "5").expect("a file");
    notices(&mut watch, "its return").await;

    fs::rename(root.join("conf"), root.join("old")).expect("a rename");
    notices(&mut watch, "a directory that is gone").await;
    fs::create_dir(root.join("new")).expect("a directory");
    fs::write(root.join("new/schedule.yaml"), "6").expect("a file");
    fs::rename(root.join("new"), root.join("conf")).expect("a rename");
    notices(&mut watch, "another directory in its place").await;
    fs::write(&path, "7").expect("a file");
    notices(&mut watch, "a write in the other directory").await;
}

#[tokio::test]
async fn a_config_map_is_followed_through_its_swaps() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let version = |number: u32| {
        let name = format!("..v{number}");
        fs::create_dir(root.join(&name)).expect("a directory");
        fs::write(root.join(&name).join("schedule.yaml"), number.to_string()).expect("a file");
        symlink(&name, root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("a rename");
    };
    version(1);
    symlink("..data/schedule.yaml", root.join("schedule.yaml")).expect("a link");
    let mut watch = settled(&root.join("schedule.yaml")).await;
    for number in 2..5 {
        version(number);
        notices(&mut watch, "a swap").await;
        fs::remove_dir_all(root.join(format!("..v{}", number - 1))).expect("the old one goes");
    }
    fs::write(root.join("..v4/schedule.yaml"), "5").expect("a file");
    notices(&mut watch, "a write behind the links").await;
}

#[tokio::test]
async fn a_change_that_nobody_tells_of_is_found_by_looking() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("schedule.yaml");
    fs::write(&path, "1").expect("a file");
    let mut watch = Watch::new(vec![path.clone()]);
    watch.way = Way::Polled(vec![stamp(&path)]);
    fs::write(&path, "another").expect("a file");
    timeout(PATIENCE, watch.next()).await.expect("it is found");
    fs::remove_file(&path).expect("a removal");
    timeout(PATIENCE, watch.next()).await.expect("its end is found");
}

/// A reload that is asked for right after a save drops the watch in the middle of its work, and
/// would wait two seconds for a writer that has closed the file.
#[tokio::test]
async fn a_watch_that_is_dropped_in_the_middle_knows_that_the_writer_has_closed_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("schedule.yaml");
    fs::write(&path, "1").expect("a file");
    for polls in 1..6 {
        // A file that was written to long ago is not waited for at first.
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH).expect("another time");
        drop(file);
        let mut watch = settled(&path).await;
        fs::write(&path, polls.to_string()).expect("a file");
        {
            let mut follows = std::pin::pin!(watch.follow());
            for _ in 0..polls {
                if timeout(Duration::from_millis(1), &mut follows).await.is_ok() {
                    break;
                }
            }
        }
        watch.follow().await;
        assert!(!watch.writing, "dropped after it was polled {polls} times");
    }
}

/// A writer closes the file while the watches are placed anew, sooner or later. To close an
/// instance of inotify and begin another one would take some 20 ms, in which the close is missed.
#[tokio::test]
async fn the_close_of_a_file_is_not_missed_while_the_watches_are_placed_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("schedule.yaml");
    fs::write(&path, "1").expect("a file");
    let mut watch = settled(&path).await;
    for after_ms in [0, 1, 2, 5, 10, 15] {
        // The writer has emptied the file.
        let writer = fs::File::create(&path).expect("a writer");
        watch.next().await;
        let closes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after_ms));
            drop(writer);
        });
        watch.follow().await;
        closes.join().expect("the file is closed");
        if let Way::Told(watches) = &mut watch.way
            && let Some(hint) = watches.waiting()
        {
            watch.writing = hint.leaves_open(watch.writing);
        }
        assert!(!watch.writing, "the file was closed {after_ms} ms after the watches began to be placed");
        fs::write(&path, "1").expect("a file");
        watch.next().await;
    }
}
