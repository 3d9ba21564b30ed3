//! Limits of containers of both kinds, on made-up file trees.

use super::*;

const MIB: u64 = 1 << 20;

/// A file tree that is gone at the end of the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Tree {
        let root = std::env::temp_dir().join(format!("pannier-memory-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Tree(root)
    }

    fn found(&self) -> Option<(u64, String)> {
        available(&self.0).map(|found| match found.origin {
            Origin::Container(file) => {
                (found.bytes / MIB, file.strip_prefix(&self.0).unwrap().display().to_string())
            }
            Origin::Machine => (found.bytes / MIB, "machine".to_owned()),
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 1 GiB.
const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1048576 kB\nMemFree:          1024 kB\n");

fn check(name: &str, files: &[(&str, &str)], expected: Option<(u64, &str)>) {
    let tree = Tree::new(name, files);
    assert_eq!(tree.found(), expected.map(|(mib, place)| (mib, place.to_owned())), "{name}");
}

#[test]
fn version_2() {
    let inside = ("proc/self/cgroup", "0::/\n");
    let limit = ("sys/fs/cgroup/memory.max", "67108864\n");
    check("v2", &[MEMINFO, inside, limit], Some((64, "sys/fs/cgroup/memory.max")));
    check("v2-none", &[MEMINFO, inside, ("sys/fs/cgroup/memory.max", "max\n")], Some((1024, "machine")));
    let huge = ("sys/fs/cgroup/memory.max", "9999999999999\n");
    check("v2-huge", &[MEMINFO, inside, huge], Some((1024, "machine")));
}

#[test]
fn version_2_nested() {
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "0::/kube/pod/box\n"),
        ("sys/fs/cgroup/kube/memory.max", "536870912\n"),
        ("sys/fs/cgroup/kube/pod/memory.max", "134217728\n"),
        ("sys/fs/cgroup/kube/pod/box/memory.max", "max\n"),
    ];
    check("v2-nested", &files, Some((128, "sys/fs/cgroup/kube/pod/memory.max")));
}

#[test]
fn a_path_that_only_the_host_sees() {
    let limit = ("sys/fs/cgroup/memory.max", "67108864\n");
    let host = ("proc/self/cgroup", "0::/system.slice/docker-ab.scope\n");
    check("v2-host", &[MEMINFO, host, limit], Some((64, "sys/fs/cgroup/memory.max")));
    let outside = ("proc/self/cgroup", "0::/../../elsewhere\n");
    check("v2-outside", &[MEMINFO, outside, limit], Some((64, "sys/fs/cgroup/memory.max")));
}

#[test]
fn version_1() {
    let group =
        ("proc/self/cgroup", "12:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n1:name=systemd:/docker/ab\n");
    let limit = ("sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes", "67108864\n");
    check("v1", &[MEMINFO, group, limit], Some((64, limit.0)));
    let own_root = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "33554432\n");
    check("v1-root", &[MEMINFO, group, own_root], Some((32, own_root.0)));
    let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    check("v1-none", &[MEMINFO, group, none], Some((1024, "machine")));
}

#[test]
fn both_versions_at_once() {
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "4:memory:/box\n0::/box\n"),
        ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "67108864\n"),
    ];
    check("hybrid", &files, Some((64, files[2].0)));
}

#[test]
fn nothing_is_known() {
    check("nothing", &[], None);
    check("rubbish", &[("proc/meminfo", "MemTotal: many\n"), ("proc/self/cgroup", "::\n\n4:memory\n")], None);
}

#[test]
fn the_default_depends_on_the_place() {
    let bytes = |setting, available: Option<&Available>| resolve(setting, available).unwrap().bytes;
    let container = Available { bytes: 64 * MIB, origin: Origin::Container("/f".into()) };
    let machine = Available { bytes: 8192 * MIB, origin: Origin::Machine };
    let small = Available { bytes: 512 * MIB, origin: Origin::Machine };
    assert_eq!(bytes(None, Some(&container)), 48 * MIB);
    assert_eq!(bytes(None, Some(&machine)), 1024 * MIB);
    assert_eq!(bytes(None, Some(&small)), 384 * MIB);
    assert_eq!(bytes(None, None), 1024 * MIB);
    assert_eq!(bytes(Some(Amount::Percent(50)), Some(&machine)), 4096 * MIB);
    assert_eq!(bytes(Some(Amount::Bytes(7)), Some(&machine)), 7);
    assert!(resolve(Some(Amount::Percent(50)), None).is_err());
    let source = resolve(None, Some(&container)).unwrap().source;
    assert_eq!(source, "75% of the container's 64 MiB (/f)");
}
