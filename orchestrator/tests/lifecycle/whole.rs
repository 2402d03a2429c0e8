//! The table of whole runs.

use crate::{
    agent, attempts, cache, compare, disk, kernels,
    lab::{self, Checked},
    looks, nights, saved, sessions, shards, waiting,
};

/// A run in a process of its own, and the conditions that must hold.
pub(crate) struct WholeRun {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) due: &'static str,
    pub(crate) holds: fn() -> Checked,
    /// If set, it needs to mount, and is ignored if that is not permitted.
    pub(crate) mounts: bool,
}

const fn run(name: &'static str, what: &'static str, due: &'static str, holds: fn() -> Checked) -> WholeRun {
    WholeRun { name, what, due, holds, mounts: false }
}

const fn mounting(run: WholeRun) -> WholeRun {
    WholeRun { mounts: true, ..run }
}

pub(crate) static RUNS: &[WholeRun] = &[
    run(
        "killed-at-any-moment",
        "`kill -9` at 24 moments",
        "no process; the log can be read, as far as it goes",
        lab::killed_at_any_moment,
    ),
    run("killed-in-a-step", "`kill -9` in a store", "LOST, exit 3; no process", lab::killed_in_a_step),
    run(
        "what-a-killed-run-left",
        "QEMU has a child that outlives s2lab's `kill -9`",
        "the next run ends it",
        lab::what_a_killed_run_left,
    ),
    run("interrupted", "INT, TERM, HUP in a store", "no verdict; 130, 143, 130", lab::interrupted),
    run(
        "environment-of-qemu",
        "s2lab has a token in its environment",
        "QEMU's has only what is listed for it",
        lab::environment_of_qemu,
    ),
    run(
        "stopped-while-a-host-works",
        "SIGSTOP, and SIGCONT after twice the time that an agent may be silent",
        "PASS: what s2lab did not run is charged to nobody",
        lab::stopped_while_a_host_works,
    ),
    run("terminated-twice", "TERM and INT", "the end at once; no process", lab::terminated_twice),
    run(
        "memory-while-a-console-floods",
        "192 MiB on the console",
        "PASS; RssAnon under 64 MiB",
        lab::memory_while_a_console_floods,
    ),
    run(
        "kernel-comes-later",
        "the kernel of the first cell is built while the other cell runs",
        "PASS of both; the other cell does not wait",
        kernels::arrives,
    ),
    run(
        "kernel-does-not-build",
        "the kernel of the first cell is missing after the other cell has ended",
        "MISS with the reason; PASS of the other",
        kernels::does_not_build,
    ),
    run(
        "kernel-of-no-cell",
        "TERM while the last cell waits for its kernel; `--fail-fast` before that",
        "no verdict, 143; not run, with the reason; nobody waits for the kernel",
        kernels::left_behind,
    ),
    run(
        "kernel-of-another-process",
        "INT, TERM while the only kernel waits for a lock of the cache that another process holds",
        "130, 143 within seconds; no process",
        waiting::for_another_process,
    ),
    run(
        "no-kernel-at-all",
        "the archive does not answer, and the cache does not have the only kernel",
        "MISS with the reason, exit 3; no process",
        waiting::for_nothing,
    ),
    run(
        "session-shared",
        "three cells of one host",
        "PASS, in one boot; each has its part of the console",
        sessions::shared,
    ),
    run(
        "session-excluded",
        "three cells of one host, the first of which its scenario excludes",
        "SKIP with the scenario's reason, without a host; the others PASS, in one boot",
        sessions::excluded,
    ),
    run(
        "session-program-in-the-host",
        "the first of three cells runs a program in its host",
        "PASS; the second cell boots anew, and the third shares its boot",
        sessions::a_program_in_the_host,
    ),
    run(
        "session-alone-and-shared",
        "three cells, each in a boot of its own and all in one",
        "the same reports, but for variable facts",
        sessions::alone_and_shared,
    ),
    run(
        "session-crash-in-the-first",
        "a panic in the first cell of each boot",
        "FAIL; the next cell boots anew",
        sessions::crash_in_the_first,
    ),
    run(
        "session-crash-in-the-second",
        "a panic in the second cell of a boot",
        "PASS, FAIL; the third boots anew and passes",
        sessions::crash_in_the_second,
    ),
    run(
        "session-trace-of-the-second",
        "a warning, a taint, tables that stay in the second cell of a boot",
        "PASS, FAIL; the third boots anew and passes",
        sessions::a_trace_of_the_second,
    ),
    run(
        "session-trace-before-the-record",
        "a warning right before the record of a cell",
        "FAIL of that cell; the next boots anew",
        sessions::a_trace_before_the_record,
    ),
    run(
        "session-not-clean",
        "devices that are not as after a boot; a console that prints nothing any more",
        "PASS; each boots anew",
        sessions::not_clean,
    ),
    run(
        "session-repeated",
        "two cells of one host, `--repeat 2`",
        "PASS; each attempt in another boot, which both cells share",
        sessions::repeated,
    ),
    run(
        "session-killed-in-the-second",
        "`kill -9` in the second cell of a boot",
        "PASS, LOST; exit 3; no process",
        sessions::killed_in_the_second,
    ),
    run(
        "session-killed-between-cells",
        "`kill -9` at 8 moments around the end of a cell",
        "each cell that has ended is PASS; no process",
        sessions::killed_between_cells,
    ),
    run(
        "session-interrupted-in-the-second",
        "INT in the second cell of a boot",
        "PASS, no verdict; exit 130",
        sessions::interrupted_in_the_second,
    ),
    run(
        "saved-resumed",
        "`--resume`, three cells of one host",
        "PASS; the first boots, the others go on with it; the reports and consoles are those of cells that boot",
        saved::resumed,
    ),
    run(
        "saved-of-other-cells",
        "the same, with other steps, and with other guests in the last cell",
        "PASS; other steps go on with the saved host, other guests boot",
        saved::of_other_cells,
    ),
    run(
        "saved-of-cells-that-count",
        "the same, with cells that count accesses",
        "PASS; the first boots, the others go on with it; the reports are those of cells that boot",
        saved::of_cells_that_count,
    ),
    run(
        "saved-in-vain",
        "the same; QEMU cannot save the machine, ends when it reads it, ends after that; the agent does not answer, \
         sends no heartbeat",
        "PASS; each boots anew; no process",
        saved::in_vain,
    ),
    run(
        "saved-not-with-an-alarm",
        "the same, with a warning in each boot",
        "FAIL; each boots",
        saved::not_with_an_alarm,
    ),
    run(
        "kept-for-a-person",
        "`--keep-on-failure` without a terminal, a FAIL; then TERM",
        "the host lives until then; FAIL, exit 143; no process",
        lab::kept_for_a_person,
    ),
    run(
        "look-shown",
        "a person in a host that is kept asks for a look, at all guests and at one",
        "the tables as they are now; the host is kept, and its cell does not pass",
        looks::shown,
    ),
    run(
        "look-of-an-unknown-guest",
        "the same, at a guest that the cell does not have",
        "the names of those that it has",
        looks::of_an_unknown_guest,
    ),
    run(
        "look-of-an-ended-guest",
        "the same, after the guest has ended",
        "why it has ended",
        looks::of_an_ended_guest,
    ),
    run(
        "look-of-a-busy-guest",
        "the same, while the guest has not answered a request",
        "the request; the guest is not asked",
        looks::of_a_busy_guest,
    ),
    run(
        "look-of-a-holding-guest",
        "the same, at a guest that still holds for a look that was not finished",
        "the tables; the guest is released before",
        looks::of_a_holding_guest,
    ),
    run(
        "look-after-a-late-one",
        "the same, after a look in which the gdbstub answered after the deadline",
        "the late look is given up; the next one has the tables, and not that answer",
        looks::after_a_look_that_was_late,
    ),
    run(
        "look-of-a-newer-request",
        "the person leaves a look and asks for another one",
        "the first is given up, the second has the tables",
        looks::of_a_newer_request,
    ),
    run(
        "look-with-an-agent-that-lies",
        "the agent answers with what is no answer, or breaks its link, while it gets the tables",
        "the look is given up; the host is kept",
        looks::with_an_agent_that_lies,
    ),
    run(
        "panicked",
        "`--retry 1`, s2lab's own code panics in the first attempt",
        "MISS with the panic, then PASS, exit 0; no process",
        attempts::panicked,
    ),
    run("repeated", "`--repeat 3`, all well", "PASS, 3 attempts, 3 folders", attempts::repeated),
    run(
        "repeated-and-different",
        "`--repeat 2`, the first attempt is MISS",
        "FLAKY, exit 1",
        attempts::repeated_and_different,
    ),
    run(
        "retried",
        "`--retry 3`, the first attempt is MISS",
        "PASS after 2 attempts, exit 0",
        attempts::retried,
    ),
    run(
        "retried-in-vain",
        "`--retry 2`, every attempt is MISS",
        "MISS after 3 attempts, exit 3",
        attempts::retried_in_vain,
    ),
    run(
        "fail-fast",
        "`--fail-fast`, the first cell is MISS",
        "the second is not run, exit 3",
        attempts::fail_fast,
    ),
    run(
        "compared",
        "a comparison of 7 pairs, all well",
        "14 boots in the order ABBA, SAME, exit 0",
        compare::compared,
    ),
    run(
        "compared-in-vain",
        "a comparison of which a boot is MISS",
        "no further boot, no decision, exit 3",
        compare::ended_by_a_boot,
    ),
    run(
        "merged-shards",
        "four cells in three shards, merged, beside one run of all",
        "one log and one folder but for times",
        shards::merged,
    ),
    run(
        "killed-shard",
        "`kill -9` in a cell of the second of two shards; then it is run again",
        "LOST and MISS by name, exit 3; then like one run of all",
        shards::killed,
    ),
    run(
        "agent-begins-anew",
        "the real agent alone gets `resume`",
        "hello and answers with the new nonce, counted from 0; a heartbeat at once",
        agent::begins_anew,
    ),
    run(
        "agent-binds-a-platform-device",
        "the real agent alone binds the flash, without and with its driver, and ends the cell",
        "what is missing; the device with its regions; the host serves no other cell",
        agent::binds_a_platform_device,
    ),
    run(
        "agent-serves-to-the-end",
        "the real agent alone: bind, start, stop, finish",
        "each answered; heartbeats; the final record counts the answers",
        agent::serves_to_the_end,
    ),
    run(
        "agent-reads-hostile-smaps",
        "the real agent alone; the VMM's smaps has torn, endless, countless, unreadable VMAs",
        "each is answered with what there is, or with why not; the agent lives on",
        agent::reads_hostile_smaps,
    ),
    run(
        "agent-starts-the-shown-command",
        "the real agent alone; QEMU in the host notes its command line",
        "it is the one that `s2lab explain` prints",
        agent::starts_the_shown_command,
    ),
    run(
        "agent-reports-the-end-of-a-builtin-vmm",
        "the real agent alone; the built-in VMM is refused, dies at its start, or cannot run on",
        "the request fails with the reason; a VMM that ran has one end, with its own words",
        agent::reports_the_end_of_a_builtin_vmm,
    ),
    mounting(run(
        "disk-without-room",
        "the run's folder on a file system with room for 1, 2, 3 ... 24 pages",
        "MISS with what to do, or the event log's own error; nothing half under its name",
        disk::no_room,
    )),
    mounting(run(
        "disk-without-files",
        "the run's folder on a file system with room for 2, 3, 4 ... 20 files",
        "the same",
        disk::no_files,
    )),
    mounting(run(
        "cache-without-room",
        "the cache on a file system with room for 1, 2, 3 ... 32 pages",
        "an error with what to do; nothing half-made; the next run, with room, works",
        cache::no_room,
    )),
    mounting(run(
        "cache-without-files",
        "the cache on a file system with room for 2, 4, 6 ... 40 files",
        "the same",
        cache::no_files,
    )),
    mounting(run(
        "cache-read-only",
        "the cache is mounted read-only",
        "filled it is enough, also with the network; else an error that names what is missing",
        cache::read_only,
    )),
    run(
        "download-broken-off",
        "the connection closes in the middle of the second package",
        "an error; the next run fetches that one alone",
        cache::broken_off,
    ),
    run(
        "no-network",
        "the package lists cannot be fetched",
        "an error; the next run works",
        cache::no_network,
    ),
    run(
        "archive-moved-on",
        "the archive has another version than the one that was found",
        "an error that says which",
        cache::moved_on,
    ),
    run(
        "an-archive-without-trixie",
        "the newest QEMU is asked of an archive that has no trixie, or does not answer",
        "that of bookworm is taken; no answer is an error, and leads to no older release",
        cache::older_archive,
    ),
    run(
        "lists-of-both-architectures",
        "the QEMU of a new machine, then a kernel of its hosts",
        "the package lists of both architectures are fetched at once, and once",
        cache::both_architectures,
    ),
    run(
        "nights-without-folders",
        "the runs of past nights were removed, or had `--out`; the history is not one, or is newer",
        "the history has the nights; a history that cannot be opened is named once, and the night runs",
        nights::remembered,
    ),
    run(
        "nights-that-follow-an-archive",
        "a kernel with `track: newest`, of which the archive gets a newer version; the archive does not answer; `--offline`",
        "a warning, and the night runs with the version that the cache has; then the kernel moves",
        nights::following,
    ),
    run(
        "two-nights-at-once",
        "two `s2lab nightly` at the same time",
        "the next night knows both",
        nights::two_at_once,
    ),
    run(
        "seven-nights",
        "seven nights of `s2lab nightly`: a kernel regresses, is tolerated, the entry expires, it is mended",
        "each morning says first what is new; what stays is one line",
        nights::seven,
    ),
    run(
        "a-lab-that-always-sees-normal",
        "a night in which every look at a BAR sees Normal-NC",
        "the negative control does not fail, and the morning says so first",
        nights::always_normal,
    ),
    run(
        "cache-damaged",
        "a byte of an object changes",
        "made anew, without the network from the packages; without both an error",
        cache::damaged,
    ),
];
