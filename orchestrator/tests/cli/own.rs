//! Your own kernels: trees, commits, series.

use crate::harness::{Home, S2LAB};
use serde_json::{Value, json};

/// Makes a lab with a kernel that is built from source, a repository of three commits with tags,
/// and git.
fn home() -> Home {
    let home = Home::new();
    home.program("git");
    home.write("lab/images/config/boot.config", "CONFIG_ARM64=y\n");
    let kernels = home.read("lab/images/kernels.yaml");
    let source = "kernels:
  linux-6.1: {about: x, provider: source, package: linux-source-6.1, suites: [bookworm], track: newest,
    config: [config/boot.config], patches: [patches/first.patch], traits: []}";
    home.write("lab/images/kernels.yaml", kernels.replace("kernels:", source));
    home.write("lab/images/patches/first.patch", patch("Subject: first", "a"));
    home.write("linux/Kconfig", "");
    git(&home, &["init", "-q"]);
    for tag in ["base", "one", "two"] {
        home.write("linux/file", tag);
        git(&home, &["add", "."]);
        git(&home, &["commit", "-q", "-m", &format!("the commit {tag}")]);
        git(&home, &["tag", tag]);
    }
    home
}

fn patch(head: &str, file: &str) -> String {
    format!("{head}\n\n--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-a\n+b\n")
}

fn mailbox(numbers: &[usize]) -> String {
    let from = "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001";
    numbers.iter().map(|n| patch(&format!("{from}\nSubject: [PATCH v2 {n}/2] change {n}"), "x")).collect()
}

/// Runs git in the tree.
fn git(home: &Home, arguments: &[&str]) {
    assert!(home.git("linux", arguments).status().unwrap().success(), "{arguments:?}");
}

#[test]
fn what_there_is_to_run() {
    let home = home();
    home.write("v2 of it.mbox", mailbox(&[2, 1]));
    let mut session = home.session();
    session.s2lab(&["list", "idle", "--kernel", "tree:../linux@base..two", "--kernel", "tree:../linux@one"]);
    session.s2lab(&[
        "list",
        "idle",
        "--kernel",
        "tree:../linux@HEAD",
        "--kernel",
        "tree:../linux",
        "--build",
    ]);
    session.s2lab(&["list", "idle@*~*", "--kernel", "linux-6.1", "--series", "../v2 of it.mbox"]);
    home.write("built/arch/arm64/boot/Image", "");
    session.s2lab(&["list", "idle", "--kernel", "tree:../built", "--kernel", "debian-6.1"]);
    session.check("own-list");
    assert_eq!(home.tree("cache"), Vec::<String>::new());
}

/// `@` in folders, `~`, and names of other scripts.
#[test]
fn paths_as_people_have_them() {
    let home = home();
    for folder in ["home/user@corp.example/linux", "内核"] {
        home.write(&format!("{folder}/Kconfig"), "");
    }
    let linux = home.path("linux");
    std::os::unix::fs::symlink(&linux, home.path("home/tree")).unwrap();
    std::os::unix::fs::symlink(&linux, home.path("mine@two")).unwrap();
    std::os::unix::fs::symlink(&linux, home.path("mine")).unwrap();
    home.write("home/v2.mbox", mailbox(&[1, 2]));
    let mut session = home.session();
    for arguments in [
        &["tree:~/user@corp.example/linux", "--build"][..],
        &["tree:~/tree@one"],
        &["tree:../内核", "--build"],
        &["tree:../linux@one", "--series=~/v2.mbox"],
        &["tree:../mine/@two"],
        &["tree:../mine@two/", "--build"],
    ] {
        let output = session.s2lab(&[&["list", "idle", "--kernel"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    assert_eq!(session.s2lab(&["list", "idle", "--kernel", "tree:../mine@two"]).status.code(), Some(2));
    session.check("own-paths");
}

/// Files that people give in place of an Image: what each of them is, and no run.
#[test]
fn files_that_are_no_image() {
    let home = home();
    home.write("vmlinux", b"\x7fELF\x02\x01\x01\0");
    home.write("uImage", [0x27, 0x05, 0x19, 0x56, 0]);
    home.write("linux-image.deb", "!<arch>\ndebian-binary   0\n");
    let mut x86 = vec![0; 600];
    x86[..2].copy_from_slice(b"MZ");
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    home.write("bzImage", x86);
    home.write("empty", "");
    home.write("Image.gz", [0x1f, 0x8b, 8, 0]);
    let mut session = home.session();
    for name in ["vmlinux", "uImage", "linux-image.deb", "bzImage", "empty", "Image.gz", "", "linux", "gone"]
    {
        let output = session.s2lab(&["run", "idle", "--kernel", &format!("../{name}")]);
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
    assert_eq!(session.s2lab(&["run", "idle", "--kernel", "."]).status.code(), Some(2));
    session.check("own-no-image");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

#[test]
fn what_a_kernel_is_made_of() {
    let home = home();
    home.write("v2.mbox", mailbox(&[1, 2]));
    home.write("my.config", "CONFIG_ARM64=y\n");
    let kernel = |arguments: &[&str]| {
        let output = home.command(&[&["explain", "idle"], arguments].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, rest) = text.split_once("# The kernel, ").unwrap();
        let (kernel, expected) = rest.split_once("\n\n").unwrap();
        let (expected, _) = expected.split_once('\n').unwrap();
        home.stable(&format!("{kernel}\n{expected}\n"))
    };
    let on_top = ["--kernel", "linux-6.1", "--series", "../v2.mbox"];
    let commit = ["--kernel", "tree:../linux@one"];
    let declared = ["--trait", "wc-honoured", "--trait", "wc-conveyed"];
    let shown = [
        kernel(&on_top),
        kernel(&[&commit[..], &["--series", "../v2.mbox"], &declared].concat()),
        kernel(&[&commit[..], &["--config", "../my.config", "--trait", "none"]].concat()),
        kernel(&["--kernel", "tree:../linux", "--build"]),
    ]
    .join("\n");
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("own-explain", shown);
    });
}

#[test]
fn what_cannot_be_built_is_said_before_anything_is_made() {
    let home = home();
    home.write("half.mbox", mailbox(&[2]));
    home.write("empty/README", "");
    home.write("Image", "");
    let mut session = home.session();
    for arguments in [
        &["linux-6.1", "--series", "../half.mbox"][..],
        &["linux-6.1", "--series", "../empty"],
        &["linux-6.1", "--series", "../gone"],
        &["debian-6.1", "--series", "images/patches"],
        &["../Image", "--series", "images/patches"],
        &["tree:../linux"],
        &["tree:../gone"],
        &["tree:../empty", "--build"],
        &["tree:../empty@HEAD"],
        &["tree:../linux@three"],
        &["tree:../linux@two..base"],
        &["tree:../linux@two:file"],
        &["tree:../linux@two^{tree}"],
        &["tree:../linux@"],
        &["tree:../linux@one", "--modules", "images"],
        &["linux-6.1", "--config", "../Image"],
        &["linux-6.1", "--build"],
        &["linux-6.1", "--trait", "none"],
        &["tree:../linux@one", "--trait", "none", "--trait", "wc-honoured"],
        &["tree:../linux@one", "--kernel", "tree:../lab/../linux@one"],
    ] {
        let output = session.s2lab(&[&["run", "idle", "--kernel"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("own-mistakes");
    assert_eq!(home.tree("cache"), Vec::<String>::new());
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

/// A cell's own command plans that cell again, and `--failed` plans all of them.
#[test]
fn cells_can_be_repeated() {
    let home = home();
    home.write("v2.mbox", mailbox(&[1, 2]));
    let mut session = home.session();
    let kernels = ["--kernel", "linux-6.1", "--kernel", "tree:../linux@base..two", "--series", "../v2.mbox"];
    session.s2lab(&[&["run", "--offline", "idle", "--trait", "none"], &kernels[..]].concat());
    let shown = session.s2lab(&["report"]);
    session.s2lab(&["run", "--failed", "--dry-run"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let commands = shown.split("repeat: ").skip(1).map(|rest| rest.split("   logs: ").next().unwrap());
    for command in commands {
        session.shell(&format!("{command} --dry-run"));
    }
    session.check_runs("own-repeat");
}

/// Reports to other systems name the commit and the patches.
#[test]
fn the_log_has_the_origins_of_kernels() {
    let home = home();
    let with_id = mailbox(&[1, 2]).replacen("Subject:", "Message-ID: <1@example.org>\nSubject:", 1);
    home.write("v2.mbox", with_id);
    let plan = |arguments: &[&str]| -> serde_json::Value {
        let output = home.command(&[&["run", "--offline", "idle"], arguments].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        let log = home.read(&format!("state/s2lab/runs/{}/events.jsonl", home.runs().pop().unwrap()));
        let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        line["event"]["plan"].clone()
    };
    let commit = home.git("linux", &["rev-parse", "one"]).output().unwrap().stdout;
    let commit = String::from_utf8(commit).unwrap().trim().to_owned();
    let kernels = ["--kernel", "tree:../linux@one", "--kernel", "linux-6.1", "--series", "../v2.mbox"];
    let planned = plan(&kernels);
    let origins = planned["kernels"].as_object().unwrap();
    assert_eq!(origins.len(), 2);
    for (name, origin) in origins {
        let series = &origin["series"];
        let of_tree = name.starts_with("linux-") && name != "linux-6.1~v2";
        // The entry has a patch of its own.
        let patches = if of_tree { 2 } else { 3 };
        assert_eq!((&series["patches"], &series["message_id"]), (&patches.into(), &"1@example.org".into()));
        assert_eq!(series["subject"], "[PATCH v2 1/2] change 1");
        assert_eq!(series["digest"].as_str().unwrap().len(), 64);
        let files = if of_tree { Value::Null } else { json!(["images/patches/first.patch"]) };
        assert_eq!(series["files"], files);
        assert_eq!(origin.get("commit").is_some(), of_tree, "{name}");
        assert!(!of_tree || origin["commit"] == commit.as_str(), "{origin}");
    }
    assert_eq!(plan(&[]).get("kernels"), None, "an entry without patches has none");
    let hash = |text: &str| s2lab_model::hash::digest(text.as_bytes());
    let (_, diff) =
        patch("", "a").split_once("\n\n").map(|(head, diff)| (head.to_owned(), diff.to_owned())).unwrap();
    let series = |message_id: Value| {
        json!({"linux-6.1": {
            "about": "linux-6.1 of images/kernels.yaml",
            "series": {
                "patches": 1,
                "digest": hash(&format!("{}\n", hash(&diff))),
                "subject": "first",
                "message_id": message_id,
                "files": ["images/patches/first.patch"],
            },
        }})
    };
    let mut due = series(Value::Null);
    due["linux-6.1"]["series"].as_object_mut().unwrap().remove("message_id");
    assert_eq!(plan(&["--kernel", "linux-6.1"])["kernels"], due);
    home.write("lab/images/patches/first.patch", patch("Message-ID: <7@example.org>\nSubject: first", "a"));
    assert_eq!(plan(&["--kernel", "linux-6.1"])["kernels"], series("7@example.org".into()));
    std::fs::remove_file(home.path("lab/images/patches/first.patch")).unwrap();
    assert_eq!(plan(&["--kernel", "linux-6.1"]).get("kernels"), None, "the error names the file");
}

/// git itself runs, with a lab in which nothing can be judged.
#[test]
fn a_bisection_skips_what_cannot_be_judged_and_stops_at_a_mistake() {
    let home = home();
    let bisect = |arguments: &str| {
        git(&home, &["bisect", "start", "--no-checkout", "two", "base"]);
        let script = format!(
            "exec {S2LAB} --lab ../lab run --offline --kernel tree:.@BISECT_HEAD --bisect {arguments}"
        );
        home.write("bisect", format!("#!/bin/sh\n{script}\n"));
        let output = home.git("linux", &["bisect", "run", "sh", "../bisect"]).output().unwrap();
        git(&home, &["bisect", "reset"]);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.code(), text)
    };
    home.program("sh");
    let (_, text) = bisect("idle");
    assert!(text.contains("only 'skip'ped commits left"), "{text}");
    let (_, text) = bisect("idel");
    assert!(text.contains("exit code 128"), "{text}");
}

/// Only root can give a file away. git's message differs from version to version.
#[test]
fn a_repository_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = home();
    for below in ["linux", "linux/.git"] {
        std::os::unix::fs::chown(home.path(below), Some(65534), None).unwrap();
    }
    let list = || home.command(&["list", "idle", "--kernel", "tree:../linux@HEAD"]).output().unwrap();
    let refused = list();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("ownership") && said.contains("safe.directory"), "{said}");
    home.write("home/.gitconfig", format!("[safe]\n\tdirectory = {}\n", home.path("linux").display()));
    let trusted = list();
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
}

/// Mistakes in given files are the user's, and are reported before a run is made.
#[test]
fn files_that_will_not_do() {
    let home = Home::new();
    home.image("Image");
    home.write("text", "no kernel");
    // Only the header: 16 MiB in memory.
    let mut cut = std::fs::read(home.path("Image")).unwrap();
    cut[16..24].copy_from_slice(&(16_u64 << 20).to_le_bytes());
    home.write("cut", &cut[..64]);
    home.write("config", "CONFIG_ARM64=y\nCONFIG_VFIO_PCI=m\nCONFIG_VFIO=y\nCONFIG_VFIO_IOMMU_TYPE1=y\n");
    home.write("several/6.1.0/modules.builtin", "");
    home.write("several/6.2.0/modules.builtin", "");
    home.write("other/modules.builtin", "kernel/fs/ext4.ko\n");
    std::fs::create_dir(home.path("empty")).unwrap();
    let mut session = home.session();
    for arguments in [
        &["--kernel", "../text"][..],
        &["--kernel", "../cut"],
        &["--kernel", "/dev/null"],
        &["--kernel", "../Image", "--modules", "../empty"],
        &["--kernel", "../Image", "--modules", "../several"],
        &["--kernel", "../Image", "--config", "../config"],
        &["--kernel", "../Image", "--config", "../config", "--modules", "../other"],
    ] {
        let output = session.s2lab(&[&["run", "--offline", "bar"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("own-files");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}
