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
fn version_1_nested() {
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "9:cpuset:/\n4:cpu,memory:/kube/pod/box\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/kube/pod/memory.limit_in_bytes", "100663296\n"),
        ("sys/fs/cgroup/memory/kube/pod/box/memory.limit_in_bytes", "134217728\n"),
    ];
    check("v1-nested", &files, Some((96, files[3].0)));
}

#[test]
fn a_namespace_of_its_own() {
    // The process sees itself at the root; what is below are groups of its own children.
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "4:memory:/\n0::/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
        ("sys/fs/cgroup/memory/child/memory.limit_in_bytes", "1048576\n"),
    ];
    check("v1-namespace", &files, Some((64, files[2].0)));
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/memory.max", "67108864\n"),
        ("sys/fs/cgroup/child/memory.max", "1048576\n"),
    ];
    check("v2-namespace", &files, Some((64, files[2].0)));
}

#[test]
fn no_limit_at_any_level() {
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "0::/kube/pod\n"),
        ("sys/fs/cgroup/kube/memory.max", "max\n"),
        ("sys/fs/cgroup/kube/pod/memory.max", "max\n"),
    ];
    check("v2-max", &files, Some((1024, "machine")));
}

#[test]
fn both_versions_at_once() {
    let files = [
        MEMINFO,
        ("proc/self/cgroup", "4:memory:/box\n0::/box\n"),
        ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "67108864\n"),
    ];
    check("hybrid", &files, Some((64, files[2].0)));
    // systemd's hybrid layout: version 2 is there for its tree alone, and version 1 has the memory.
    let files = [
        MEMINFO,
        (
            "proc/self/cgroup",
            "4:memory:/system.slice/box\n1:name=systemd:/system.slice/box\n0::/system.slice/box\n",
        ),
        ("sys/fs/cgroup/unified/system.slice/box/cgroup.procs", "1\n"),
        ("sys/fs/cgroup/memory/system.slice/box/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes", "268435456\n"),
    ];
    check("hybrid-unified", &files, Some((256, files[4].0)));
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
    assert_eq!(bytes(Some(Amount::Bytes(64 * MIB)), Some(&container)), 64 * MIB);
    let source = |bytes| resolve(Some(Amount::Bytes(bytes)), Some(&container)).unwrap().source;
    assert_eq!(source(56 * MIB), "as set");
    assert!(source(57 * MIB).contains("less than 8 MiB below the container's 64 MiB (/f)"));
    let error = resolve(Some(Amount::Bytes(65 * MIB)), Some(&container)).unwrap_err();
    assert_eq!(
        error,
        "--memory 65 MiB is more than the container's 64 MiB (/f); choose a smaller size, or a share such as 75%"
    );
    let source = resolve(None, Some(&container)).unwrap().source;
    assert_eq!(source, "75% of the container's 64 MiB (/f)");
}
