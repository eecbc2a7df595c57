//! Full disks: too small from the start, filled by somebody else in the middle of a run, out of inodes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::{Bench, Tally, has_bug, read_tree};
use crate::common::Ran;

/// A file system in memory, below the project.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; `None` without the right to mount.
    fn mount(folder: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    fn remount(&self, options: &str) {
        let option = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }

    /// Fills the disk with a file, which is then shortened by `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("fill");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(left)).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A third of the trials each: a small disk, one that fills up, one without inodes. Then there is room, and the run continues.
pub(crate) fn fill_disks(bench: &mut Bench, count: u32) -> Tally {
    let mut tally = Tally::default();
    for trial in 0..count {
        let folder = bench.project.path().join("disk");
        let options = match trial % 3 {
            0 => format!("size={}k", 40 + bench.below(4000)),
            1 => "size=64m".to_owned(),
            _ => format!("size=64m,nr_inodes={}", 12 + bench.below(150)),
        };
        let Some(disk) = SmallDisk::mount(folder, &options) else {
            println!("SKIPPED: full disks need the right to mount; try `unshare -rm just hostile`");
            return tally;
        };
        let jobs = if bench.below(2) == 0 { "1" } else { "2" };
        let words = ["run", "tiny.kdl", "--store", "disk/store", "--jobs", jobs];
        let ran = if trial % 3 == 1 {
            run_while_filled(bench, &disk, &words)
        } else {
            bench.project.fmflow(&words)
        };
        disk.remount(if trial % 3 == 2 { "nr_inodes=9000" } else { "size=64m" });
        judge(bench, &mut tally, &disk, &ran, &options);
    }
    tally
}

/// Runs, while somebody else fills the disk at a random instant and goes away at the end.
fn run_while_filled(bench: &mut Bench, disk: &SmallDisk, words: &[&str]) -> Ran {
    let child = bench.project.spawn(words);
    std::thread::sleep(Duration::from_millis(bench.below(2500)));
    let filled = disk.fill(*bench.pick(&[0, 0, 4096, 16_384, 120_000]));
    let ran = Ran::from(child.wait_with_output().unwrap());
    fs::remove_file(filled).unwrap();
    ran
}

/// A full disk is exit code 6, names the path, what is needed and what is free; with room the result is the usual one.
fn judge(bench: &Bench, tally: &mut Tally, disk: &SmallDisk, ran: &Ran, options: &str) {
    let again = bench.project.fmflow(&["run", "tiny.kdl", "--store", "disk/store"]);
    let same = read_tree(&disk.0.join("store")) == bench.whole && again.code == 0;
    let told = ran.code == 0 || (ran.code == 6 && names_space(&disk.0, &ran.stderr));
    let end = match (ran.code, ran.stderr.contains("but only")) {
        (6, true) => "refused before work".to_owned(),
        (6, false) => "full in the middle".to_owned(),
        (code, _) => format!("exit {code}"),
    };
    let good = same && told && !has_bug(ran) && !has_bug(&again);
    tally.add(end, good, || {
        format!("{options}, same {same}: {}then {}: {}", ran.stderr, again.code, again.stderr)
    });
}

fn names_space(disk: &Path, said: &str) -> bool {
    let path = disk.file_name().unwrap().to_str().unwrap();
    said.contains(&format!("/{path}/store")) && said.contains(" free") && said.contains("help: ")
}
