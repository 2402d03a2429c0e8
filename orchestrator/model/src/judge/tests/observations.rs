//! Required observations, and the ends of attempts and runs.

use super::*;
use crate::scenario::{AccessEnd, Promise};
use s2lab_protocol::ProbeKind;

#[test]
fn every_observation_must_be_there_once() {
    let missing = |what: fn(&Event) -> bool| Story::after().without(what);
    for (story, words) in [
        (
            missing(|e| {
                matches!(e, Event::Observed { step: 0, data: Observation::Stored(Stored { width: 64, .. }) })
            }),
            "step 0, store 64 B",
        ),
        (
            missing(|e| matches!(e, Event::Observed { step: 3, data: Observation::Stored(_) })),
            "step 3, store 8 B",
        ),
        (
            missing(
                |e| matches!(e, Event::Observed { data: Observation::Look(look), .. } if look.name == "again"),
            ),
            "look again, guest g0",
        ),
        (
            missing(|e| matches!(e, Event::Observed { data: Observation::Reset(_), .. })),
            "step 2, reset of nic",
        ),
        (
            missing(|e| matches!(e, Event::Observed { data: Observation::Probed(_), .. })),
            "step 5, probe of nic",
        ),
        (missing(|e| matches!(e, Event::HostUp { .. })), "the host's kernel"),
        (missing(|e| matches!(e, Event::GuestUp { .. })), "the kernel of guest g0"),
    ] {
        found(&story, Verdict::Miss, &[words, "found 0"]);
    }
    for event in &Story::after().events {
        if matches!(
            event,
            Event::Observed { data: Observation::Stored(_), .. }
                | Event::Observed { data: Observation::Look(_), .. }
                | Event::Observed { data: Observation::Reset(_), .. }
                | Event::Observed { data: Observation::Probed(_), .. }
        ) {
            found(&Story::after().and(event.clone()), Verdict::Miss, &["one observation", "found 2"]);
        }
    }
    let unplanned = Story::after().and(Event::Observed {
        step: 9,
        data: Observation::Reset(Reset { device: "nic".into(), method: "bus".into() }),
    });
    found(&unplanned, Verdict::Miss, &["observations", "1 that no step asks for"]);
    let other: [fn(&mut Event); 3] = [
        |e| {
            if let Event::Observed { data: Observation::Stored(Stored { bytes, .. }), .. } = e {
                *bytes /= 2
            }
        },
        |e| {
            if let Event::Observed { data: Observation::Stored(Stored { map, .. }), .. } = e {
                *map = s2lab_protocol::MapKind::Device
            }
        },
        |e| {
            if let Event::Observed { data: Observation::Stored(Stored { guest, .. }), .. } = e {
                *guest = "g1".into()
            }
        },
    ];
    for change in other {
        found(
            &Story::after().edit(change),
            Verdict::Miss,
            &["step 0, store: expected 1M bytes by g0 to nic"],
        );
    }
    let probed = Story::after().edit(|e| {
        if let Event::Observed { data: Observation::Probed(Probed { map, .. }), .. } = e {
            *map = s2lab_protocol::MapKind::Device;
        }
    });
    found(&probed, Verdict::Miss, &["step 5, probe of nic", "found 0"]);
    let elsewhere = Story::after().edit(|e| {
        if let Event::Observed { step, data: Observation::Reset(_) } = e {
            *step = 0
        }
    });
    found(&elsewhere, Verdict::Miss, &["step 2, reset of nic", "found 0"]);
    let elsewhere = Story::after().edit(|e| {
        if let Event::Observed { step, data: Observation::Look(_) } = e {
            *step += 1
        }
    });
    found(&elsewhere, Verdict::Miss, &["look stored, guest g0", "found 0"]);
    let short = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Stored(Stored { result, .. }), .. } = event {
            result.stores -= 1;
        }
    });
    found(&short, Verdict::Miss, &["step 0, store", "131071 stores"]);
    found(&missing(|e| matches!(e, Event::HostRam { .. })), Verdict::Miss, &["the host's RAM", "found 0"]);
    // Without them no leaf can be assigned to a region.
    for what in
        [|e: &Event| matches!(e, Event::HostRam { .. }), |e: &Event| matches!(e, Event::DeviceBound(_))]
    {
        found(&missing(what), Verdict::Miss, &["look stored", "did not report the place"]);
    }
    let mut unmapped = Machine::with(NC_BLOCK);
    unmapped.mapped = false;
    let story = Story::of(both(), &unmapped, true, ok()).without(|e| matches!(e, Event::DeviceBound(_)));
    found(&story, Verdict::Miss, &["the BAR of nic", "found 0"]);
}

#[test]
fn the_console_must_show_what_the_kernel_logs() {
    let silent = Story::after().without(|e| matches!(e, Event::ConsoleTested));
    found(&silent, Verdict::Miss, &["test line", "the host's console does not show what its kernel logs"]);
}

#[test]
fn pages_must_be_there_and_be_what_they_are_called() {
    let mut story = Story::after();
    story.pages.clear();
    found(&story, Verdict::Miss, &["look stored, guest g0", "is not in raw/"]);
    let mut story = Story::after();
    story.pages.values_mut().for_each(|page| page[0] ^= 1);
    found(&story, Verdict::Miss, &["look stored, guest g0", "is not what its name says"]);
    let story = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            look.pages.pop_first();
        }
    });
    found(&story, Verdict::Miss, &["look stored, guest g0", "was not recorded"]);
    for register in ["VTTBR_EL2", "VTCR_EL2", "HCR_EL2", "TTBR0_EL1", "TCR_EL1", "MAIR_EL1", "SCTLR_EL1"] {
        let story = Story::after().edit(|event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event {
                look.registers.remove(register);
            }
        });
        found(&story, Verdict::Miss, &["look stored, guest g0", register]);
    }
    // The host's user space: TGE is set.
    let story = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            *look.registers.get_mut("HCR_EL2").unwrap() |= 1 << 27;
        }
    });
    found(&story, Verdict::Miss, &["not the registers of a running guest"]);
}

#[test]
fn bytes_must_arrive() {
    let lost = |event: &mut Event| {
        if let Event::Observed { data: Observation::Stored(Stored { file_difference, .. }), .. } = event {
            *file_difference = Some(0x40);
        }
    };
    found(&Story::after().edit(lost), Verdict::Fail, &["BAR file after step 0", "differs from offset 0x40"]);
    let story = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Stored(Stored { result, .. }), .. } = event {
            result.first_difference = Some(8);
        }
    });
    found(&story, Verdict::Fail, &["read-back after step 0", "differs from offset 0x8"]);
    let wrong = ProbeOutcome::Answered(ProbeEnd::Wrong);
    found(
        &Story::after().edit(probe_ends(wrong)),
        Verdict::Fail,
        &["unaligned store by g0", "reads back wrong"],
    );
    let arrived = |event: &mut Event| {
        if let Event::Observed { data: Observation::Probed(Probed { outcome, arrived, .. }), .. } = event {
            (*outcome, *arrived) = (ProbeOutcome::Answered(ProbeEnd::Signal(7)), true);
        }
    };
    found(
        &Story::after().edit(arrived),
        Verdict::Fail,
        &["unaligned store by g0", "does not complete, and leaves other bytes"],
    );
    // The later end of the cell does not matter.
    found(&Story::after().edit(lost).stopped(StopCause::Timeout), Verdict::Fail, &["BAR file"]);
}

#[test]
fn alarms_fail_however_the_cell_ends() {
    use AlarmClass::*;
    for class in [Panic, Oops, HypPanic, Warn, Bug, Lockdep, Kasan, Stall, HungTask, UnsupportedFault] {
        found(
            &Story::after().and(alarm(class)),
            Verdict::Fail,
            &["console of host", "expected no alarm", "what it printed"],
        );
    }
    for cause in [StopCause::Timeout, StopCause::Lab, StopCause::Lacking, StopCause::Scenario] {
        found(&Story::after().and(alarm(Panic)).stopped(cause), Verdict::Fail, &["found panic"]);
    }
    let lost = Story::after().and(alarm(Panic)).without(|e| matches!(e, Event::CellEnded { .. }));
    found(&lost, Verdict::Fail, &["found panic"]);
}

#[test]
fn dropped_messages_miss_unless_something_fails() {
    let dropped = |count: u64| Event::Alarm {
        console: "host".into(),
        class: AlarmClass::Dropped,
        line: format!("** {count} printk messages dropped **"),
    };
    let lossy = Story::after().and(dropped(37)).and(dropped(5));
    found(&lossy, Verdict::Miss, &["lines on the console of host", "42 messages dropped", "** 37 printk"]);
    found(&lossy.clone().and(alarm(AlarmClass::Warn)), Verdict::Fail, &["found WARN"]);
    let endless = Story::after().and(dropped(u64::MAX)).and(dropped(1));
    found(&endless, Verdict::Miss, &["18446744073709551615 messages dropped"]);
    found(&Story::after().and(alarm(AlarmClass::Dropped)), Verdict::Miss, &["more than were kept"]);
}

#[test]
fn a_call_trace_is_an_alarm_where_nothing_names_its_crash() {
    let line = |class, line: &str| Event::Alarm { console: "host".into(), class, line: line.into() };
    let crash = |lines: &[&str]| Event::Crash {
        console: "host".into(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        names: Default::default(),
    };
    let (warning, trace) = ("[ 1.0] WARNING: x", "[ 1.1] Call trace:");
    let alone = Story::after().and(line(AlarmClass::Trace, trace));
    found(&alone, Verdict::Fail, &["found call trace", "Call trace:"]);
    let cut = alone.and(crash(&[trace, "[ 1.1]  f+0x4/0x8"]));
    found(&cut, Verdict::Fail, &["found call trace in f"]);
    let named = Story::after().and(line(AlarmClass::Warn, warning)).and(line(AlarmClass::Trace, trace));
    for story in [named.clone().and(crash(&[warning, trace, "[ 1.1]  f+0x4/0x8"])), named] {
        let findings = story.attempt().judgement.findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].found.starts_with("WARN"), "{findings:?}");
    }
    // The line that names it is on the allow-list; a harmless line has no trace.
    let harmless = "[ 1.0] WARNING: Unprivileged eBPF is enabled";
    let story = Story::after()
        .and(line(AlarmClass::Warn, harmless))
        .and(line(AlarmClass::Trace, trace))
        .and(crash(&[harmless, trace, "[ 1.1]  f+0x4/0x8"]));
    found(&story, Verdict::Fail, &["WARN in f"]);
}

#[test]
fn a_probe_on_device_memory_explains_one_unsupported_fault() {
    let fault = || alarm(AlarmClass::UnsupportedFault);
    assert_eq!(verdict(&Story::before().and(fault())), pass("before the series"));
    found(&Story::before().and(fault()).and(fault()), Verdict::Fail, &["unsupported fault of a guest"]);
    // The probe did not fault.
    assert_eq!(verdict(&Story::before().edit(probe_ends(ok())).and(fault())), Some(Verdict::Fail));
    // It faulted, but not on Device memory.
    assert_eq!(verdict(&Story::after().edit(probe_ends(signal())).and(fault())), Some(Verdict::Fail));
    // It faulted where no mapping was seen.
    let mut machine = Machine::with(DEVICE_BLOCK);
    machine.blocks = 0;
    let nowhere = Story::of(traits(&[]), &machine, false, signal()).and(fault());
    found(&nowhere, Verdict::Fail, &["unsupported fault of a guest"]);
    found(&Story::before().and(alarm(AlarmClass::Oops)), Verdict::Fail, &["oops"]);
}

#[test]
fn every_end_of_a_guest_is_a_fault() {
    let exited = GuestEnd::Exited { code: Some(1), signal: None, detail: String::new() };
    for outcome in [signal(), ProbeOutcome::GuestEnded(exited)] {
        assert_eq!(verdict(&Story::before().edit(probe_ends(outcome))), pass("before the series"));
    }
}

/// KVM gives the VMM a store to a read-only memslot.
#[test]
fn an_exit_of_the_built_in_vmm_is_another_end() {
    let stopped = |state: &str| {
        let detail = "KVM_RUN".to_owned();
        ProbeOutcome::GuestEnded(GuestEnd::Stopped { state: state.into(), detail })
    };
    let exit = |state| Story::after().edit(probe_ends(stopped(state)));
    found(&exit(s2lab_protocol::UNEXPECTED_EXIT), Verdict::Fail, &["expected ok, found exit"]);
    let expects_exit = |mut story: Story| {
        for expectation in &mut story.cell.resolved.expect {
            expectation.unaligned = expectation.unaligned.map(|_| AccessEnd::Exit);
        }
        story.cell.resolved.promises.insert(Promise::LOGGING);
        story
    };
    let good = expects_exit(exit(s2lab_protocol::UNEXPECTED_EXIT));
    assert!(matches!(verdict(&good), Some(Verdict::Pass { .. })), "{:#?}", good.attempt().judgement.findings);
    let failed = expects_exit(exit("kvm-run-failed"));
    found(&failed, Verdict::Fail, &["expected exit, found fault"]);
    assert_eq!(failed.attempt().judgement.findings[0].promise, Some(Promise::LOGGING));
}

/// An instruction fetch from a BAR is the guest's abort, and its VMM goes on.
#[test]
fn a_fetch_does_not_end_a_vmm() {
    let fetch = |outcome| {
        let mut story = Story::before().edit(probe_ends(outcome)).edit(|event| {
            if let Event::Observed { data: Observation::Probed(probed), .. } = event {
                probed.kind = ProbeKind::Fetch;
            }
        });
        for step in &mut story.cell.resolved.steps {
            if let Step::Probe(probe) = step {
                probe.kind = ProbeKind::Fetch;
            }
        }
        for expectation in &mut story.cell.resolved.expect {
            expectation.fetch = expectation.unaligned.take().map(|_| AccessEnd::Fault);
        }
        story.cell.resolved.promises.insert(Promise::FETCH);
        story
    };
    let good = fetch(signal());
    assert!(matches!(verdict(&good), Some(Verdict::Pass { .. })), "{:#?}", good.attempt().judgement.findings);
    let (state, detail) = ("kvm-run-failed".to_owned(), "Bad address".to_owned());
    let story = fetch(ProbeOutcome::GuestEnded(GuestEnd::Stopped { state, detail }));
    found(&story, Verdict::Fail, &["fetch by g0 from nic", "found the end of its VMM"]);
    let judgement = story.attempt().judgement;
    assert!(judgement.findings.iter().any(|finding| finding.promise == Some(Promise::FETCH)));
}

#[test]
fn ends_have_their_verdicts() {
    use crate::event::Stage::Steps;
    for (cause, wanted) in [
        (StopCause::Kernel, Some(Verdict::Fail)),
        (StopCause::Timeout, Some(Verdict::Timeout(Steps))),
        (StopCause::Scenario, Some(Verdict::Error)),
        (StopCause::Lab, Some(Verdict::Miss)),
        (StopCause::Lacking, Some(Verdict::Skip("what happened".into()))),
        (StopCause::Interrupted, None),
    ] {
        let story = Story::after().stopped(cause);
        assert_eq!(verdict(&story), wanted);
        let finding = &story.attempt().judgement.findings[0];
        assert_eq!((finding.what.as_str(), finding.found.as_str()), ("stage steps", "what happened"));
        assert_eq!(finding.detail, ["what to do"]);
    }
    assert_eq!(
        verdict(&Story::after().without(|e| matches!(e, Event::CellEnded { .. }))),
        Some(Verdict::Lost)
    );
}

#[test]
fn runs_exit_by_their_cells() {
    assert_eq!(Story::after().run().exit, 0);
    assert_eq!(Story::after().stopped(StopCause::Lab).run().exit, 3);
    assert_eq!(Story::after().stopped(StopCause::Scenario).run().exit, 2);
    assert_eq!(Story::after().and(alarm(AlarmClass::Panic)).run().exit, 1);
    assert_eq!(Story::after().stopped(StopCause::Lacking).run().exit, 3, "nothing was tested");
    let mut never_started = Story::after();
    never_started.events.clear();
    let run = never_started.run();
    assert_eq!((run.exit, run.cells[0].verdict.clone()), (3, Some(Verdict::Lost)));

    let judged = |story: &Story, change: &dyn Fn(&mut Vec<crate::event::Line>)| {
        let mut lines = story.lines();
        change(&mut lines);
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        crate::judge::judge_run(crate::record::Run::fold(lines).unwrap(), &|d: &str| {
            story.pages.get(d).cloned()
        })
    };
    let story = Story::after();
    let cut = judged(&story, &|lines| drop(lines.pop()));
    assert_eq!(
        (cut.exit, cut.cells[0].verdict.clone()),
        (3, pass("wc-honoured")),
        "the run was lost, not the cell"
    );

    let interrupted = judged(&story, &|lines| {
        let at = lines.len() - 3;
        assert!(matches!(lines[at].event, Event::CellEnded { .. }));
        lines.truncate(at);
        let event = Event::Interrupted { signal: "SIGTERM".into() };
        lines.push(Line::new(at as u64, 0, None, None, event));
    });
    assert_eq!((interrupted.exit, interrupted.cells[0].verdict.clone()), (143, None));

    let twice = |second: Story| {
        let mut lines = Story::after().lines();
        let end = lines.pop().unwrap();
        let second = second.lines();
        lines.extend(elsewhere(&second, &KEY.parse().unwrap(), SESSION + 1));
        lines.push(end);
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        crate::judge::judge_run(crate::record::Run::fold(lines).unwrap(), &|d: &str| {
            Story::after().pages.get(d).cloned()
        })
    };
    assert_eq!(twice(Story::after()).exit, 0);
    let flaky = twice(Story::after().stopped(StopCause::Timeout));
    assert_eq!((flaky.exit, flaky.cells[0].verdict.clone()), (1, Some(Verdict::Flaky)));
    assert_eq!(flaky.cells[0].attempts.len(), 2);
}

#[test]
fn a_host_that_was_kept_has_no_final_record_and_so_passes_by_nothing() {
    let kept = |mut story: Story| {
        let end = story.end();
        story.events[end] = Event::CellEnded { end: CellEnd::Kept };
        story
    };
    let before = Story::before().edit(|event| {
        if let Event::Observed { data: Observation::Stored(Stored { file_difference, .. }), .. } = event {
            *file_difference = Some(8);
        }
    });
    let complete = before.attempt().judgement;
    assert_eq!(complete.verdict, Some(Verdict::Fail));
    assert_eq!(kept(before).attempt().judgement, complete, "what was seen counts as ever");
    found(&kept(Story::after()), Verdict::Lost, &["the final record", "kept for a person"]);
}

#[test]
fn a_crash_is_known_by_the_names_that_a_system_map_gives() {
    let line = "Internal error: Oops: 96000044 [#1] SMP".to_owned();
    let lines = vec![line.clone(), "pc : 0xffff800008010004".into()];
    let names = std::iter::once(("ffff800008010004".into(), "kvm_fault+0x4/0x40".into())).collect();
    let story = Story::after()
        .and(Event::Alarm { console: "host".into(), class: AlarmClass::Oops, line })
        .and(Event::Crash { console: "host".into(), lines, names });
    found(&story, Verdict::Fail, &["oops in kvm_fault", "pc : kvm_fault+0x4/0x40"]);
}
